// The client for grpc++: client TARGETS POLICY SECONDS. See ../README.md.

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "hello.grpc.pb.h"

using Clock = std::chrono::steady_clock;
using hello::v1::HelloService;
using hello::v1::HiRequest;
using hello::v1::HiResponse;

namespace {

constexpr int kWatchWorkers = 2;
constexpr int kWatchMessages = 3;
constexpr int kChatMessages = 10;

int FromEnv(const char* name, int usual) {
  const char* value = std::getenv(name);
  return value == nullptr ? usual : std::stoi(value);
}

// The load, where it is not the usual.
const auto kDeadline = std::chrono::seconds(FromEnv("HELLO_DEADLINE", 10));
const int kUnaryWorkers = FromEnv("HELLO_WORKERS", 8);
const std::string kMessage(FromEnv("HELLO_BYTES", 5), 'x');

// Result counts the calls and errors of all workers.
class Result {
 public:
  // Add counts a call. An empty error means success.
  void Add(const std::string& what, const std::string& error) {
    std::lock_guard<std::mutex> lock(mu_);
    calls_++;
    if (error.empty()) return;
    failed_++;
    errors_[what + ": " + error]++;
  }

  std::string Line() {
    std::lock_guard<std::mutex> lock(mu_);
    std::ostringstream out;
    out << R"({"client":"grpc++","version":")" << grpc::Version() << R"(","calls":)" << calls_
        << R"(,"failed":)" << failed_ << R"(,"errors":{)";
    const char* comma = "";
    for (const auto& [text, count] : errors_) {
      out << comma << Quote(text) << ":" << count;
      comma = ",";
    }
    out << "}}";
    return out.str();
  }

 private:
  static std::string Quote(const std::string& text) {
    std::string out = "\"";
    for (char c : text) {
      if (c == '"' || c == '\\') out += '\\';
      out += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    }
    return out + "\"";
  }

  std::mutex mu_;
  int calls_ = 0, failed_ = 0;
  std::map<std::string, int> errors_;
};

std::string Text(const grpc::Status& s) {
  if (s.ok()) return "";
  return std::to_string(s.error_code()) + " " + s.error_message();
}

std::string Hi(HelloService::Stub* stub) {
  grpc::ClientContext ctx;
  ctx.set_deadline(std::chrono::system_clock::now() + kDeadline);
  HiRequest req;
  HiResponse res;
  req.set_to_who("you");
  req.set_message(kMessage);
  grpc::Status s = stub->Hi(&ctx, req, &res);
  if (s.ok() && res.message() != kMessage) return "answered " + res.message().substr(0, 20);
  return Text(s);
}

std::string Watch(HelloService::Stub* stub, int want) {
  grpc::ClientContext ctx;
  HiRequest req;
  HiResponse res;
  req.set_to_who("you");
  auto reader = stub->Watch(&ctx, req);
  int got = 0;
  while (got < want && reader->Read(&res)) got++;
  ctx.TryCancel();
  grpc::Status s = reader->Finish();
  if (got >= want) return "";
  return "ended early: " + Text(s);
}

std::string Chat(HelloService::Stub* stub) {
  grpc::ClientContext ctx;
  ctx.set_deadline(std::chrono::system_clock::now() + kDeadline);
  auto stream = stub->Chat(&ctx);
  HiRequest req;
  HiResponse res;
  int got = 0;
  while (got < kChatMessages) {
    req.set_message(std::to_string(got));
    if (!stream->Write(req) || !stream->Read(&res)) break;
    got++;
  }
  stream->WritesDone();
  grpc::Status s = stream->Finish();
  if (s.ok() && got < kChatMessages) return "ended early";
  return Text(s);
}

std::shared_ptr<grpc::Channel> Dial(const std::string& targets, const std::string& policy) {
  grpc::ChannelArguments args;
  args.SetLoadBalancingPolicyName(policy);
  const std::string target = targets.rfind("dns:", 0) == 0 ? targets : "ipv4:" + targets;
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), args);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::cerr << "usage: client TARGETS POLICY SECONDS\n";
    return 2;
  }
  auto channel = Dial(argv[1], argv[2]);
  auto stub = HelloService::NewStub(channel);
  const int seconds = std::stoi(argv[3]);
  const auto end = Clock::now() + std::chrono::seconds(seconds);
  Result result;
  std::vector<std::thread> threads;
  auto start = [&](int n, const std::string& what, std::function<std::string()> call) {
    for (int i = 0; i < n; i++) {
      threads.emplace_back([&result, end, what, call] {
        do result.Add(what, call());
        while (Clock::now() < end);
      });
    }
  };
  start(kUnaryWorkers, "hi", [&] { return Hi(stub.get()); });
  start(kWatchWorkers, "watch", [&] { return Watch(stub.get(), kWatchMessages); });
  start(1, "chat", [&] { return Chat(stub.get()); });
  // At one message a second, this stream ends shortly after the other calls.
  start(1, "long watch", [&] { return Watch(stub.get(), seconds + 1); });
  for (auto& t : threads) t.join();
  std::cout << result.Line() << std::endl;
  std::string rest((std::istreambuf_iterator<char>(std::cin)), {});
  return 0;
}
