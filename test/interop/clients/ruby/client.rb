# frozen_string_literal: true

# The client for ruby-grpc: client.rb TARGETS POLICY SECONDS. See ../README.md.

require 'grpc'
require 'json'
require 'hello_services_pb'

DEADLINE = Integer(ENV.fetch('HELLO_DEADLINE', 10))
UNARY_WORKERS = Integer(ENV.fetch('HELLO_WORKERS', 8))
MESSAGE = 'x' * Integer(ENV.fetch('HELLO_BYTES', 5))
WATCH_WORKERS = 2
WATCH_MESSAGES = 3
CHAT_MESSAGES = 10

# Result counts the calls and errors of all workers.
class Result
  def initialize
    @lock = Mutex.new
    @calls = @failed = 0
    @errors = Hash.new(0)
  end

  def add(what, error)
    @lock.synchronize do
      @calls += 1
      next unless error

      @failed += 1
      @errors["#{what}: #{error}"] += 1
    end
  end

  def line
    { client: 'ruby-grpc', version: GRPC::VERSION, calls: @calls, failed: @failed, errors: @errors }.to_json
  end
end

def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

def hi(stub)
  answer = stub.hi(Hello::V1::HiRequest.new(to_who: 'you', message: MESSAGE), deadline: Time.now + DEADLINE)
  raise "answered #{answer.message[0, 20]}" unless answer.message == MESSAGE
end

def watch(stub, want)
  got = 0
  call = stub.watch(Hello::V1::HiRequest.new(to_who: 'you'), return_op: true)
  answers = call.execute
  begin
    answers.each do
      got += 1
      break if got >= want
    end
  ensure
    call.cancel
  end
  raise 'ended early' if got < want
end

def chat(stub)
  answered = Queue.new
  answered << true
  requests = Enumerator.new do |out|
    CHAT_MESSAGES.times do |i|
      break unless answered.pop

      out << Hello::V1::HiRequest.new(message: i.to_s)
    end
  end
  got = 0
  stub.chat(requests, deadline: Time.now + DEADLINE).each do
    got += 1
    answered << true
  end
  raise 'ended early' unless got == CHAT_MESSAGES
ensure
  answered.close
end

def worker(result, finish, what)
  Thread.new do
    loop do
      begin
        yield
        result.add(what, nil)
      rescue GRPC::BadStatus, RuntimeError => e
        result.add(what, e.message)
      end
      break if now >= finish
    end
  end
end

targets, policy, seconds = ARGV
args = { 'grpc.lb_policy_name' => policy }
target = targets.start_with?('dns:') ? targets : "ipv4:#{targets}"
stub = Hello::V1::HelloService::Stub.new(target, :this_channel_is_insecure, channel_args: args)
result = Result.new
finish = now + seconds.to_i
threads = Array.new(UNARY_WORKERS) { worker(result, finish, 'hi') { hi(stub) } }
threads += Array.new(WATCH_WORKERS) { worker(result, finish, 'watch') { watch(stub, WATCH_MESSAGES) } }
threads << worker(result, finish, 'chat') { chat(stub) }
# At one message a second, this stream ends shortly after the other calls.
threads << worker(result, finish, 'long watch') { watch(stub, seconds.to_i + 1) }
threads.each(&:join)
puts result.line
$stdout.flush
$stdin.read
