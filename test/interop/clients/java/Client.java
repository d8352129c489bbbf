// The client for grpc-java: Client TARGETS POLICY SECONDS. See ../README.md. The transport is the
// one in the class path, netty or okhttp.

import hello.v1.Hello.HiRequest;
import hello.v1.Hello.HiResponse;
import hello.v1.HelloServiceGrpc;
import io.grpc.Attributes;
import io.grpc.Context;
import io.grpc.EquivalentAddressGroup;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.NameResolver;
import io.grpc.NameResolverProvider;
import io.grpc.NameResolverRegistry;
import io.grpc.internal.GrpcUtil;
import io.grpc.stub.StreamObserver;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.URI;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

final class Client {
  static final int DEADLINE = fromEnv("HELLO_DEADLINE", 10);
  static final int UNARY_WORKERS = fromEnv("HELLO_WORKERS", 8);
  static final String MESSAGE = "x".repeat(fromEnv("HELLO_BYTES", 5));
  static final int WATCH_WORKERS = 2;
  static final int WATCH_MESSAGES = 3;
  static final int CHAT_MESSAGES = 10;

  static int fromEnv(String name, int usual) {
    String value = System.getenv(name);
    return value == null ? usual : Integer.parseInt(value);
  }

  interface Call {
    void run() throws Exception;
  }

  /** Counts the calls and errors of all workers. */
  static final class Result {
    private int calls;
    private int failed;
    private final Map<String, Integer> errors = new TreeMap<>();

    synchronized void add(String what, Exception error) {
      calls++;
      if (error == null) {
        return;
      }
      failed++;
      errors.merge(what + ": " + error.getMessage(), 1, Integer::sum);
    }

    synchronized String line() {
      StringBuilder out = new StringBuilder();
      errors.forEach((text, n) -> out.append(out.length() == 0 ? "" : ",").append(quote(text)).append(":").append(n));
      return String.format(
          "{\"client\":\"grpc-java\",\"version\":%s,\"calls\":%d,\"failed\":%d,\"errors\":{%s}}",
          quote(GrpcUtil.getGrpcBuildVersion().getImplementationVersion()), calls, failed, out);
    }

    private static String quote(String text) {
      return '"' + text.replace("\\", "\\\\").replace("\"", "\\\"").replaceAll("\\p{Cntrl}", " ") + '"';
    }
  }

  /** Resolves static:///host:port,host:port to these addresses. */
  static final class StaticResolver extends NameResolverProvider {
    @Override
    public NameResolver newNameResolver(URI target, NameResolver.Args args) {
      List<EquivalentAddressGroup> groups = new ArrayList<>();
      for (String hostPort : target.getPath().substring(1).split(",")) {
        int colon = hostPort.lastIndexOf(':');
        SocketAddress addr =
            new InetSocketAddress(hostPort.substring(0, colon), Integer.parseInt(hostPort.substring(colon + 1)));
        groups.add(new EquivalentAddressGroup(addr, Attributes.EMPTY));
      }
      return new NameResolver() {
        @Override
        public String getServiceAuthority() {
          return "hello.test";
        }

        @Override
        public void start(Listener2 listener) {
          listener.onResult(ResolutionResult.newBuilder().setAddresses(groups).build());
        }

        @Override
        public void shutdown() {}
      };
    }

    @Override
    public String getDefaultScheme() {
      return "static";
    }

    @Override
    protected boolean isAvailable() {
      return true;
    }

    @Override
    protected int priority() {
      return 5;
    }
  }

  private final HelloServiceGrpc.HelloServiceBlockingStub blocking;
  private final HelloServiceGrpc.HelloServiceStub async;

  Client(ManagedChannel channel) {
    blocking = HelloServiceGrpc.newBlockingStub(channel);
    async = HelloServiceGrpc.newStub(channel);
  }

  void hi() {
    HiRequest req = HiRequest.newBuilder().setToWho("you").setMessage(MESSAGE).build();
    HiResponse res = blocking.withDeadlineAfter(DEADLINE, TimeUnit.SECONDS).hi(req);
    if (!res.getMessage().equals(MESSAGE)) {
      throw new IllegalStateException("answered " + res.getMessage().length() + " bytes");
    }
  }

  void watch(int want) {
    Context.CancellableContext context = Context.current().withCancellation();
    Context before = context.attach();
    try {
      Iterator<HiResponse> stream = blocking.watch(HiRequest.newBuilder().setToWho("you").build());
      for (int got = 0; got < want; got++) {
        if (!stream.hasNext()) {
          throw new IllegalStateException("ended early");
        }
        stream.next();
      }
    } finally {
      context.detach(before);
      context.cancel(null);
    }
  }

  /** One bidirectional stream that sends the next message after each answer. */
  static final class Chat implements StreamObserver<HiResponse> {
    final CompletableFuture<Integer> done = new CompletableFuture<>();
    StreamObserver<HiRequest> out;
    private int got;

    void say() {
      out.onNext(HiRequest.newBuilder().setMessage(String.valueOf(got)).build());
    }

    @Override
    public void onNext(HiResponse res) {
      got++;
      if (got < CHAT_MESSAGES) {
        say();
      } else {
        out.onCompleted();
      }
    }

    @Override
    public void onError(Throwable t) {
      done.completeExceptionally(t);
    }

    @Override
    public void onCompleted() {
      done.complete(got);
    }
  }

  void chat() throws Exception {
    Chat chat = new Chat();
    chat.out = async.withDeadlineAfter(DEADLINE, TimeUnit.SECONDS).chat(chat);
    chat.say();
    if (chat.done.get() != CHAT_MESSAGES) {
      throw new IllegalStateException("ended early");
    }
  }

  static Thread worker(Result result, long end, String what, Call call) {
    Thread t =
        new Thread(
            () -> {
              do {
                Exception error = null;
                try {
                  call.run();
                } catch (Exception e) {
                  error = e;
                }
                result.add(what, error);
              } while (System.nanoTime() - end < 0);
            });
    t.start();
    return t;
  }

  public static void main(String[] args) throws Exception {
    NameResolverRegistry.getDefaultRegistry().register(new StaticResolver());
    int seconds = Integer.parseInt(args[2]);
    String target = args[0].startsWith("dns:") ? args[0] : "static:///" + args[0];
    ManagedChannel channel =
        ManagedChannelBuilder.forTarget(target).defaultLoadBalancingPolicy(args[1]).usePlaintext().build();
    Client client = new Client(channel);
    Result result = new Result();
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
    List<Thread> threads = new ArrayList<>();
    for (int i = 0; i < UNARY_WORKERS; i++) {
      threads.add(worker(result, end, "hi", client::hi));
    }
    for (int i = 0; i < WATCH_WORKERS; i++) {
      threads.add(worker(result, end, "watch", () -> client.watch(WATCH_MESSAGES)));
    }
    threads.add(worker(result, end, "chat", client::chat));
    // At one message a second, this stream ends shortly after the other calls.
    threads.add(worker(result, end, "long watch", () -> client.watch(seconds + 1)));
    for (Thread t : threads) {
      t.join();
    }
    System.out.println(result.line());
    System.out.flush();
    while (System.in.read() >= 0) {
      // Stay idle with the channel open until standard input ends.
    }
    System.exit(0);
  }
}
