// Writes record batches with Kafka's own classes, one "<name> <hex>" a line. Golden.java beside it does the same for messages.

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.*;
import org.apache.kafka.common.utils.Utils;

public class GoldenRecords {
    static final long TIME = 1_700_000_000_000L;

    public static void main(String[] args) {
        for (CompressionType type : CompressionType.values()) {
            Compression compression = Compression.of(type).build();
            print("v2-" + type.name, batch((byte) 2, compression, 12));
            if (type != CompressionType.ZSTD) {
                print("v1-" + type.name, batch((byte) 1, compression, 12));
                print("v0-" + type.name, batch((byte) 0, compression, 12));
            }
        }
        print("control-commit", MemoryRecords.withEndTransactionMarker(7, TIME, 3, 42L, (short) 5,
            new EndTransactionMarker(ControlRecordType.COMMIT, 9)).buffer());
        print("control-abort", MemoryRecords.withEndTransactionMarker(8, TIME, 3, 42L, (short) 5,
            new EndTransactionMarker(ControlRecordType.ABORT, 9)).buffer());
        for (String key : new String[] {"", "a", "ab", "abc", "abcd", "kafka", "größe", "0123456789abcdef"}) {
            System.out.println("murmur2 " + HexFormat.of().formatHex(key.getBytes(StandardCharsets.UTF_8)) + " "
                + Utils.murmur2(key.getBytes(StandardCharsets.UTF_8)));
        }
    }

    static ByteBuffer batch(byte magic, Compression compression, int count) {
        MemoryRecordsBuilder builder = MemoryRecords.builder(ByteBuffer.allocate(1 << 16), magic, compression,
            TimestampType.CREATE_TIME, 100L, TIME, magic == 2 ? 4242L : -1L, (short) (magic == 2 ? 3 : -1),
            magic == 2 ? 17 : -1, magic == 2, magic == 2 ? 6 : -1);
        for (int i = 0; i < count; i++) {
            byte[] key = i % 3 == 0 ? null : ("key-" + i).getBytes(StandardCharsets.UTF_8);
            byte[] value = i % 5 == 4 ? null : ("value-" + i + "-" + "abcdefgh".repeat(i * 3)).getBytes(StandardCharsets.UTF_8);
            Header[] headers = magic < 2 || i % 4 != 1 ? new Header[0] : new Header[] {
                new RecordHeader("h", "1".getBytes(StandardCharsets.UTF_8)), new RecordHeader("h", null),
                new RecordHeader("größe", new byte[0]) };
            builder.append(magic == 0 ? -1L : TIME + (i == 3 ? -5_000_000_000L : i * 10L), key, value, headers);
        }
        return builder.build().buffer();
    }

    static void print(String name, ByteBuffer buffer) {
        byte[] bytes = new byte[buffer.remaining()];
        buffer.duplicate().get(bytes);
        System.out.println(name + " " + HexFormat.of().formatHex(bytes));
    }
}
