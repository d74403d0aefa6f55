import java.math.BigDecimal;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import org.apache.avro.generic.GenericRecord;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;

/**
 * The sum of all settlement lines there are, for each currency and account.
 *
 * <p>Arguments: the consumer's properties, which name the Avro deserializer of your choice, and the topic. Prints a line
 * an account, with tabs: currency, account, how many lines, amount.
 */
public final class SettlementTotal {
  private static final int MICROS = 6;

  /** How many lines, and what they come to. */
  private record Total(long lines, BigDecimal amount) {
    Total plus(Total other) {
      return new Total(lines + other.lines, amount.add(other.amount));
    }
  }

  public static void main(String[] arguments) throws Exception {
    Properties properties = new Properties();
    try (var file = Files.newBufferedReader(Path.of(arguments[0]))) {
      properties.load(file);
    }
    Map<String, Total> totals = new TreeMap<>();
    try (KafkaConsumer<String, GenericRecord> consumer = new KafkaConsumer<>(properties)) {
      List<TopicPartition> partitions =
          consumer.partitionsFor(arguments[1]).stream().map(p -> new TopicPartition(p.topic(), p.partition())).toList();
      consumer.assign(partitions);
      consumer.seekToBeginning(partitions);
      Map<TopicPartition, Long> ends = consumer.endOffsets(partitions); // committed by now, with read_committed
      while (partitions.stream().anyMatch(p -> consumer.position(p) < ends.get(p))) {
        for (ConsumerRecord<String, GenericRecord> record : consumer.poll(Duration.ofSeconds(1))) {
          if (record.offset() < ends.get(new TopicPartition(record.topic(), record.partition()))) {
            GenericRecord line = record.value();
            BigDecimal amount = BigDecimal.valueOf((long) line.get("amount_micros"), MICROS);
            totals.merge(line.get("currency") + "\t" + line.get("account_id"), new Total(1, amount), Total::plus);
          }
        }
      }
    }
    totals.forEach((who, total) -> System.out.println(who + "\t" + total.lines + "\t" + total.amount.toPlainString()));
  }
}
