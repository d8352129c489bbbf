import java.net.URI;
import java.net.http.*;
import java.util.Map;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;

/** Requests with Java's HttpClient. Prints calls and failures. */
class Client {
  public static void main(String[] args) throws Exception {
    var version = HttpClient.Version.valueOf(args[2]);
    var client = HttpClient.newBuilder().version(version).build();
    var request = HttpRequest.newBuilder(URI.create(args[0])).version(version)
        .POST(HttpRequest.BodyPublishers.ofString("hi")).build();
    long end = System.nanoTime() + Long.parseLong(args[1]) * 1_000_000_000L;
    var calls = new AtomicLong();
    Map<String, LongAdder> errors = new ConcurrentHashMap<>();
    var all = Executors.newFixedThreadPool(8);
    for (int i = 0; i < 8; i++) {
      all.submit(() -> {
        while (System.nanoTime() < end) {
          calls.incrementAndGet();
          try {
            var res = client.send(request, HttpResponse.BodyHandlers.ofString());
            if (res.statusCode() != 200) throw new Exception("status " + res.statusCode());
            Thread.sleep(2);
          } catch (Exception e) {
            errors.computeIfAbsent(String.valueOf(e.getMessage()), k -> new LongAdder()).increment();
          }
        }
      });
    }
    all.shutdown();
    all.awaitTermination(1, TimeUnit.MINUTES);
    System.out.println("calls " + calls + " failed " + errors.values().stream().mapToLong(LongAdder::sum).sum() + " " + errors);
  }
}
