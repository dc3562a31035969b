// Assigns with Kafka's own assignors: reads a file of lines of JSON, writes who gets what, as JSON.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.GroupSubscription;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.Subscription;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.consumer.RoundRobinAssignor;
import org.apache.kafka.common.Cluster;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.PartitionInfo;

public class GoldenAssignments {
    public static void main(String[] args) throws Exception {
        ObjectMapper mapper = new ObjectMapper();
        for (String line : Files.readAllLines(Path.of(args[0]))) {
            JsonNode input = mapper.readTree(line);
            Map<String, Subscription> members = new HashMap<>();
            for (JsonNode member : input.get("members")) members.put(member.get("id").asText(), subscriptionOf(member));
            ConsumerPartitionAssignor assignor = switch (input.get("assignor").asText()) {
                case "range" -> new RangeAssignor();
                case "roundrobin" -> new RoundRobinAssignor();
                default -> new CooperativeStickyAssignor();
            };
            Map<String, TreeMap<String, TreeSet<Integer>>> result = new TreeMap<>();
            assignor.assign(clusterOf(input.get("topics")), new GroupSubscription(members)).groupAssignment().forEach((id, given) -> {
                TreeMap<String, TreeSet<Integer>> topics = result.computeIfAbsent(id, k -> new TreeMap<>());
                given.partitions().forEach(p -> topics.computeIfAbsent(p.topic(), k -> new TreeSet<>()).add(p.partition()));
            });
            System.out.println(mapper.writeValueAsString(result));
        }
    }

    static Subscription subscriptionOf(JsonNode member) {
        List<String> topics = new ArrayList<>();
        member.get("topics").forEach(topic -> topics.add(topic.asText()));
        Optional<String> rack = Optional.ofNullable(member.get("rack").textValue());
        Subscription subscription = new Subscription(topics, null, List.of(), -1, rack);
        subscription.setGroupInstanceId(Optional.ofNullable(member.get("instanceId").textValue()));
        return subscription;
    }

    static Cluster clusterOf(JsonNode topics) {
        Map<String, Node> nodes = new HashMap<>();
        List<PartitionInfo> partitions = new ArrayList<>();
        topics.fields().forEachRemaining(topic -> {
            for (int partition = 0; partition < topic.getValue().size(); partition++) {
                List<Node> replicas = new ArrayList<>();
                for (JsonNode rack : topic.getValue().get(partition)) {
                    replicas.add(nodes.computeIfAbsent(rack.asText(), r -> new Node(nodes.size(), "h", 1, r)));
                }
                Node[] array = replicas.toArray(new Node[0]);
                partitions.add(new PartitionInfo(topic.getKey(), partition, array.length == 0 ? null : array[0], array, array));
            }
        });
        return new Cluster("c", nodes.values(), partitions, Set.of(), Set.of());
    }
}
