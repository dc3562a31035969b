// franz-go. Reads and prints what wire.mjs describes.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

type settings struct {
	Brokers     []string `json:"brokers"`
	Topic       string   `json:"topic"`
	Compression string   `json:"compression"`
	Group       string   `json:"group"`
	Protocol    string   `json:"protocol"`
	Assignor    string   `json:"assignor"`
	Transaction string   `json:"transaction"`
}

// Go writes and reads []byte as base64, and nil as null.
type record struct {
	Partition *int32  `json:"partition"`
	Key       []byte  `json:"key"`
	Value     []byte  `json:"value"`
	Headers   [][]any `json:"headers"`
	Timestamp int64   `json:"timestamp"`
}

func main() {
	var given settings
	check(json.Unmarshal([]byte(os.Args[2]), &given))
	if os.Args[1] == "produce" {
		produce(given)
	} else {
		consume(given)
	}
}

func produce(given settings) {
	codecs := map[string]kgo.CompressionCodec{
		"":       kgo.NoCompression(),
		"none":   kgo.NoCompression(),
		"gzip":   kgo.GzipCompression(),
		"snappy": kgo.SnappyCompression(),
		"lz4":    kgo.Lz4Compression(),
		"zstd":   kgo.ZstdCompression(),
	}
	var keyed, placed []*kgo.Record
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var read record
		check(json.Unmarshal(lines.Bytes(), &read))
		made := &kgo.Record{Topic: given.Topic, Key: read.Key, Value: read.Value, Timestamp: time.UnixMilli(read.Timestamp)}
		for _, pair := range read.Headers {
			made.Headers = append(made.Headers, kgo.RecordHeader{Key: pair[0].(string), Value: bytesOf(pair[1])})
		}
		if read.Partition == nil {
			keyed = append(keyed, made)
		} else {
			made.Partition = *read.Partition
			placed = append(placed, made)
		}
	}
	check(lines.Err())
	send := func(records []*kgo.Record, partitioner kgo.Partitioner) {
		ctx := context.Background()
		options := []kgo.Opt{
			kgo.SeedBrokers(given.Brokers...),
			kgo.ProducerBatchCompression(codecs[given.Compression]),
			kgo.RecordPartitioner(partitioner),
			kgo.ProducerLinger(50 * time.Millisecond),
		}
		if given.Transaction != "" {
			options = append(options, kgo.TransactionalID("franz-"+given.Topic))
		}
		client, err := kgo.NewClient(options...)
		check(err)
		if given.Transaction != "" {
			check(client.BeginTransaction())
		}
		check(client.ProduceSync(ctx, records...).FirstErr())
		if given.Transaction != "" {
			check(client.EndTransaction(ctx, given.Transaction == "commit"))
		}
		client.Close()
	}
	if len(placed) > 0 {
		send(placed, kgo.ManualPartitioner())
	}
	if len(keyed) > 0 {
		send(keyed, kgo.UniformBytesPartitioner(64<<10, true, true, nil))
	}
}

func consume(given settings) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	base := context.Background()
	balancers := map[string]kgo.GroupBalancer{
		"":                   kgo.CooperativeStickyBalancer(),
		"cooperative-sticky": kgo.CooperativeStickyBalancer(),
		"sticky":             kgo.StickyBalancer(),
		"range":              kgo.RangeBalancer(),
		"roundrobin":         kgo.RoundRobinBalancer(),
	}
	if given.Protocol == "consumer" {
		base = context.WithValue(base, "opt_in_kafka_next_gen_balancer_beta", true)
	}
	client, err := kgo.NewClient(
		kgo.WithContext(base),
		kgo.SeedBrokers(given.Brokers...),
		kgo.ConsumerGroup(given.Group),
		kgo.ConsumeTopics(given.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.Balancers(balancers[given.Assignor]),
		kgo.HeartbeatInterval(500*time.Millisecond),
		kgo.SessionTimeout(10*time.Second),
		kgo.FetchMaxWait(100*time.Millisecond),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.AutoCommitMarks(),
	)
	check(err)
	out := json.NewEncoder(os.Stdout)
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			break
		}
		fetches.EachError(func(_ string, _ int32, err error) { check(err) })
		fetches.EachRecord(func(read *kgo.Record) {
			made := record{&read.Partition, read.Key, read.Value, [][]any{}, read.Timestamp.UnixMilli()}
			for _, header := range read.Headers {
				made.Headers = append(made.Headers, []any{header.Key, header.Value})
			}
			check(out.Encode(made))
			client.MarkCommitRecords(read)
		})
	}
	check(client.CommitMarkedOffsets(context.Background()))
	client.Close()
}

// Empty is not null.
func bytesOf(value any) []byte {
	if value == nil {
		return nil
	}
	var data []byte
	quoted, err := json.Marshal(value)
	check(err)
	check(json.Unmarshal(quoted, &data))
	return data
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
