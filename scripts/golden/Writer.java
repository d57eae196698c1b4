import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Writes what golden batches hold, by Kafka's own client: SERVERS TOPIC CODEC plain|transactions. */
public final class Writer {
  private static final long TIME = 1_700_000_000_000L;

  private static byte[] bytes(String s) {
    return s == null ? null : s.getBytes(StandardCharsets.UTF_8);
  }

  private static KafkaProducer<byte[], byte[]> producer(String servers, String codec, String id) {
    Properties p = new Properties();
    p.put("bootstrap.servers", servers);
    p.put("compression.type", codec);
    p.put("linger.ms", "200"); // all rows into one batch
    if (id != null) p.put("transactional.id", id);
    KafkaProducer<byte[], byte[]> k =
        new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer());
    if (id != null) k.initTransactions();
    return k;
  }

  private static void send(KafkaProducer<byte[], byte[]> k, String topic, long time, String key, String value, Header... headers)
      throws Exception {
    k.send(new ProducerRecord<>(topic, 0, time, bytes(key), bytes(value), List.of(headers)));
  }

  public static void main(String[] args) throws Exception {
    String servers = args[0], topic = args[1], codec = args[2];
    if (args[3].equals("plain")) {
      try (KafkaProducer<byte[], byte[]> k = producer(servers, codec, null)) {
        send(k, topic, TIME, "key", "value");
        send(k, topic, TIME + 500, null, "long ".repeat(300));
        send(k, topic, TIME - 100_000_000, "key", null, new RecordHeader("h", bytes("v")), new RecordHeader("null", (byte[]) null),
            new RecordHeader("empty", bytes("")), new RecordHeader("h", bytes("again")), new RecordHeader("", bytes("nameless")));
        send(k, topic, TIME + 1, "", "");
        send(k, topic, TIME + 2, "钥匙", "一条消息");
      }
      return;
    }
    try (KafkaProducer<byte[], byte[]> a = producer(servers, codec, topic + "-a");
        KafkaProducer<byte[], byte[]> b = producer(servers, codec, topic + "-b");
        KafkaProducer<byte[], byte[]> plain = producer(servers, codec, null)) {
      a.beginTransaction();
      send(a, topic, TIME, "a", "aborted 1");
      send(a, topic, TIME, "a", "aborted 2");
      a.flush();
      send(plain, topic, TIME, null, "plain 1");
      plain.flush();
      b.beginTransaction();
      send(b, topic, TIME, "b", "committed 1");
      b.flush();
      send(a, topic, TIME, "a", "aborted 3");
      a.flush();
      a.abortTransaction();
      b.commitTransaction();
      a.beginTransaction();
      send(a, topic, TIME, "a", "committed 2");
      a.flush();
      b.beginTransaction();
      send(b, topic, TIME, "b", "aborted 4");
      b.flush();
      a.commitTransaction();
      b.abortTransaction();
      send(plain, topic, TIME, null, "plain 2");
    }
  }
}
