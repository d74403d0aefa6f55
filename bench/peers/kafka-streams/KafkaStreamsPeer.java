import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.DecoderFactory;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StoreQueryParameters;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.processor.TimestampExtractor;
import org.apache.kafka.streams.state.QueryableStoreTypes;
import org.apache.kafka.streams.state.WindowStore;

/** Readings summed per site and 15 minutes, exactly once. Arguments: topic, count, threads, out topic, schema, sums file. */
public class KafkaStreamsPeer {
  static Schema schema;
  static int power;
  static int time;
  static final ThreadLocal<GenericDatumReader<GenericRecord>> READER =
      ThreadLocal.withInitial(() -> new GenericDatumReader<>(schema));

  static GenericRecord decode(byte[] frame) {
    try {
      return READER.get().read(null, DecoderFactory.get().binaryDecoder(frame, 5, frame.length - 5, null));
    } catch (Exception e) {
      throw new RuntimeException(e);
    }
  }

  public static class EventTime implements TimestampExtractor {
    public long extract(ConsumerRecord<Object, Object> r, long p) {
      return ((Long) ((GenericRecord) r.value()).get(time)) / 1000;
    }
  }

  public static class Reading implements Serde<GenericRecord> {
    public Serializer<GenericRecord> serializer() { return null; }
    public Deserializer<GenericRecord> deserializer() { return (t, d) -> decode(d); }
  }

  public static void main(String[] a) throws Exception {
    long total = Long.parseLong(a[1]);
    schema = new Schema.Parser().parse(Files.readString(Path.of(a[4])));
    power = schema.getField("power_w").pos();
    time = schema.getField("occurred_at").pos();
    Properties p = new Properties();
    p.put("application.id", "kafka-streams-" + System.currentTimeMillis());
    p.put("bootstrap.servers", System.getenv("FLEXLOG_KAFKA__BOOTSTRAP_SERVERS"));
    p.put("num.stream.threads", a[2]);
    p.put("processing.guarantee", "exactly_once_v2");
    p.put("commit.interval.ms", "1000");
    p.put("state.dir", Files.createTempDirectory("kafka-streams").toString());
    p.put("auto.offset.reset", "earliest");
    p.put("default.timestamp.extractor", EventTime.class.getName());
    p.put("replication.factor", 1);
    p.put("max.poll.records", 10000);
    p.put("statestore.cache.max.bytes", 256L << 20);
    AtomicLong seen = new AtomicLong(), start = new AtomicLong(), end = new AtomicLong();
    CountDownLatch done = new CountDownLatch(1);
    StreamsBuilder b = new StreamsBuilder();
    b.stream(a[0], Consumed.with(Serdes.String(), new Reading()))
        .peek((k, v) -> {
          long n = seen.incrementAndGet();
          if (n == 1) start.set(System.nanoTime());
          if (n == total) {
            end.set(System.nanoTime());
            done.countDown();
          }
        })
        .mapValues(v -> (Double) v.get(power))
        .groupByKey(Grouped.with(Serdes.String(), Serdes.Double()))
        .windowedBy(TimeWindows.ofSizeWithNoGrace(Duration.ofMinutes(15)))
        .emitStrategy(EmitStrategy.onWindowClose())
        .aggregate(() -> 0.0, (k, v, sum) -> sum + v,
            Materialized.<String, Double, WindowStore<Bytes, byte[]>>as("sums")
                .withKeySerde(Serdes.String()).withValueSerde(Serdes.Double())
                .withRetention(Duration.ofDays(2)))  // so that all sums can be compared at the end
        .toStream().map((k, v) -> KeyValue.pair(k.key(), v))
        .to(a[3], Produced.with(Serdes.String(), Serdes.Double()));
    KafkaStreams streams = new KafkaStreams(b.build(), p);
    streams.start();
    done.await();
    Thread.sleep(3000);  // the last reading is added, its transaction is committed
    try (PrintWriter out = new PrintWriter(a[5])) {
      var store = streams.store(StoreQueryParameters.fromNameAndType("sums", QueryableStoreTypes.<String, Double>windowStore()));
      try (var rows = store.all()) {
        rows.forEachRemaining(r -> out.println(r.key.key() + "," + r.key.window().start() + "," + r.value));
      }
    }
    double s = (end.get() - start.get()) / 1e9;
    System.out.printf("{\"rows\": %d, \"seconds\": %f}%n", seen.get(), s);
    System.out.flush();
    Runtime.getRuntime().halt(0);
  }
}
