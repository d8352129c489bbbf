import java.io.FileInputStream;
import java.net.URI;
import java.net.http.*;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import javax.net.ssl.*;

/**
 * Requests with Java's HttpClient: URL, seconds, version, and with TLS the file of the server's
 * certificate. Prints calls and failures.
 */
class Client {
  public static void main(String[] args) throws Exception {
    var version = HttpClient.Version.valueOf(args[2]);
    var builder = HttpClient.newBuilder().version(version);
    if (args.length > 3) builder.sslContext(trusting(args[3]));
    var client = builder.build();
    var request = HttpRequest.newBuilder(URI.create(args[0])).version(version).timeout(Duration.ofSeconds(10))
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
            if (res.version() != version) throw new Exception("spoke " + res.version());
            Thread.sleep(5);
          } catch (Exception e) {
            errors.computeIfAbsent(text(e), k -> new LongAdder()).increment();
          }
        }
      });
    }
    all.shutdown();
    all.awaitTermination(2, TimeUnit.MINUTES);
    System.out.println("calls " + calls + " failed " + errors.values().stream().mapToLong(LongAdder::sum).sum() + " " + errors);
  }

  /** The text of an error, without addresses. */
  static String text(Exception e) {
    return String.valueOf(e.getMessage()).replaceAll("[^ ]*[0-9.]+:[0-9]+:? ?", "");
  }

  /** Trusts the certificate in a PEM file, and no other. */
  static SSLContext trusting(String pem) throws Exception {
    var keys = KeyStore.getInstance(KeyStore.getDefaultType());
    keys.load(null, null);
    try (var in = new FileInputStream(pem)) {
      keys.setCertificateEntry("pods", CertificateFactory.getInstance("X.509").generateCertificate(in));
    }
    var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
    trust.init(keys);
    var context = SSLContext.getInstance("TLS");
    context.init(null, trust.getTrustManagers(), null);
    return context;
  }
}
