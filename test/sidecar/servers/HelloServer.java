import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.Server;
import io.grpc.ServerServiceDefinition;
import io.grpc.netty.NettyServerBuilder;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.ServerCalls;
import io.grpc.stub.StreamObserver;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;

/**
 * An ordinary grpc-java server: HelloServer ADDRESS POD. It needs no generated code. An answer is the
 * request with the field pod (3) added, because HiRequest and HiResponse have the same first
 * fields.
 */
public final class HelloServer {
  static final ScheduledExecutorService TIMER = Executors.newScheduledThreadPool(1);
  static byte[] suffix;

  static byte[] answer(byte[] request) {
    byte[] out = new byte[request.length + suffix.length];
    System.arraycopy(request, 0, out, 0, request.length);
    System.arraycopy(suffix, 0, out, request.length, suffix.length);
    return out;
  }

  static final class Bytes implements MethodDescriptor.Marshaller<byte[]> {
    @Override
    public InputStream stream(byte[] value) {
      return new ByteArrayInputStream(value);
    }

    @Override
    public byte[] parse(InputStream stream) {
      try {
        return stream.readAllBytes();
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
  }

  static MethodDescriptor<byte[], byte[]> method(String name, MethodType type) {
    return MethodDescriptor.<byte[], byte[]>newBuilder()
        .setFullMethodName("hello.v1.HelloService/" + name)
        .setType(type)
        .setRequestMarshaller(new Bytes())
        .setResponseMarshaller(new Bytes())
        .build();
  }

  static void hi(byte[] request, StreamObserver<byte[]> out) {
    out.onNext(answer(request));
    out.onCompleted();
  }

  static void watch(byte[] request, StreamObserver<byte[]> out) {
    ServerCallStreamObserver<byte[]> call = (ServerCallStreamObserver<byte[]>) out;
    TIMER.scheduleAtFixedRate(
        () -> {
          if (call.isCancelled()) {
            throw new IllegalStateException("the client has ended the stream");
          }
          call.onNext(answer(request));
        },
        0, 1, TimeUnit.SECONDS);
  }

  static StreamObserver<byte[]> chat(StreamObserver<byte[]> out) {
    return new StreamObserver<>() {
      @Override
      public void onNext(byte[] request) {
        out.onNext(answer(request));
      }

      @Override
      public void onError(Throwable t) {}

      @Override
      public void onCompleted() {
        out.onCompleted();
      }
    };
  }

  public static void main(String[] args) throws Exception {
    int colon = args[0].lastIndexOf(':');
    byte[] pod = args[1].getBytes(StandardCharsets.UTF_8);
    ByteArrayOutputStream field = new ByteArrayOutputStream();
    field.write(3 << 3 | 2);
    field.write(pod.length);
    field.write(pod);
    suffix = field.toByteArray();
    InetSocketAddress address =
        new InetSocketAddress(args[0].substring(0, colon), Integer.parseInt(args[0].substring(colon + 1)));
    Server server =
        NettyServerBuilder.forAddress(address)
            .addService(
                ServerServiceDefinition.builder("hello.v1.HelloService")
                    .addMethod(method("Hi", MethodType.UNARY), ServerCalls.asyncUnaryCall(HelloServer::hi))
                    .addMethod(
                        method("Watch", MethodType.SERVER_STREAMING),
                        ServerCalls.asyncServerStreamingCall(HelloServer::watch))
                    .addMethod(
                        method("Chat", MethodType.BIDI_STREAMING), ServerCalls.asyncBidiStreamingCall(HelloServer::chat))
                    .build())
            .build()
            .start();
    Runtime.getRuntime().addShutdownHook(new Thread(() -> {
      server.shutdown();
      try {
        server.awaitTermination(5, TimeUnit.SECONDS);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }));
    server.awaitTermination();
  }
}
