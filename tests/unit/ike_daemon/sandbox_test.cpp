// What is left of the kernel for espalier-ike: what it and its libraries need, and nothing else. Each test
// confines a process of its own.
#include "ike/daemon/sandbox.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <openssl/x509.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>

#include "crypto/prepare.hpp"

namespace espalier::ike {
namespace {

using ::testing::ExitedWithCode;
using ::testing::KilledBySignal;

void confine() {
  if (!crypto::prepare() || !drop_privileges("nobody") || !confine_system_calls()) ::_exit(7);
}

template <class Work>
[[noreturn]] void confined(Work work) {
  confine();
  work();
  ::_exit(0);
}

// As X509_verify_cert() does with the list of the peer's authority.
void look_up_in_a_list_of(long revoked) {
  const std::unique_ptr<X509_CRL, decltype(&::X509_CRL_free)> list(::X509_CRL_new(), ::X509_CRL_free);
  const std::unique_ptr<ASN1_INTEGER, decltype(&::ASN1_INTEGER_free)> number(::ASN1_INTEGER_new(),
                                                                             ::ASN1_INTEGER_free);
  for (long i = revoked; i > 0; --i) {
    X509_REVOKED* one = ::X509_REVOKED_new();
    if (::ASN1_INTEGER_set(number.get(), i) != 1 || ::X509_REVOKED_set_serialNumber(one, number.get()) != 1 ||
        ::X509_CRL_add0_revoked(list.get(), one) != 1)
      ::_exit(8);
  }
  X509_REVOKED* found = nullptr;
  if (::X509_CRL_get0_by_serial(list.get(), &found, number.get()) != 1) ::_exit(9);
}

TEST(Sandbox, ALongRevocationListIsNoEnd) {
  EXPECT_EXIT(confined([] { look_up_in_a_list_of(1000); }), ExitedWithCode(0), "");
}

TEST(Sandbox, LibrariesMayAskForTimeAndProcessors) {
  EXPECT_EXIT(confined([] {
                cpu_set_t set;
                if (::syscall(SYS_time, nullptr) <= 0 || ::sched_getaffinity(0, sizeof set, &set) != 0)
                  ::_exit(8);
              }),
              ExitedWithCode(0), "");
}

TEST(Sandbox, AnAbortIsSeenAsOne) {
  EXPECT_EXIT(confined([] { std::abort(); }), KilledBySignal(SIGABRT), "");
}

#if defined(__SANITIZE_ADDRESS__)
TEST(Sandbox, ASanitizersReportComesOut) {
  EXPECT_EXIT(confined([] {
                const std::unique_ptr<volatile char[]> bytes(new volatile char[8]);
                volatile size_t behind = 8;
                bytes[behind] = 1;
              }),
              ExitedWithCode(1), "heap-buffer-overflow");
}
#else
TEST(Sandbox, NothingElseIsLeft) {
  EXPECT_EXIT(confined([] { ::open("/", O_RDONLY); }), KilledBySignal(SIGSYS), "");
  EXPECT_EXIT(confined([] { ::fork(); }), KilledBySignal(SIGSYS), "");
  EXPECT_EXIT(confined([] { ::kill(::getppid(), 0); }), KilledBySignal(SIGSYS), "");
}

TEST(Sandbox, NobodyElseIsSignalled) {
  const pid_t other = ::getpid();
  EXPECT_EXIT(confined([other] { ::syscall(SYS_tgkill, other, other, 0); }), KilledBySignal(SIGSYS), "");
}
#endif

}  // namespace
}  // namespace espalier::ike
