#include "ike/daemon/sandbox.hpp"

#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "control/shared/segment.hpp"

namespace espalier::ike {
namespace {

// Memory, our descriptors, time, randomness, threads' locks, and the end. Nothing opens a file, connects,
// executes or signals anybody else.
constexpr int kAllowed[] = {
    SYS_read,         SYS_write,          SYS_writev,       SYS_close,           SYS_fstat,
    SYS_newfstatat,   SYS_lseek,          SYS_mmap,         SYS_munmap,          SYS_mremap,
    SYS_mprotect,     SYS_madvise,        SYS_brk,          SYS_mlock,           SYS_mlock2,
    SYS_munlock,      SYS_memfd_create,   SYS_ftruncate,    SYS_fcntl,           SYS_accept4,
    SYS_sendmsg,      SYS_recvmsg,        SYS_getsockopt,   SYS_epoll_ctl,       SYS_epoll_wait,
    SYS_epoll_pwait,  SYS_clock_gettime,  SYS_gettimeofday, SYS_clock_nanosleep, SYS_getrandom,
    SYS_futex,        SYS_sched_yield,    SYS_getpid,       SYS_gettid,          SYS_geteuid,
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sigaltstack,     SYS_restart_syscall,
    SYS_exit,         SYS_exit_group,
};
// What only libraries call, now and then: the first qsort() of a kilobyte or more (glibc before 2.37; OpenSSL
// sorts revocation lists), malloc() that is short of memory, whoever wants the time where there is no vDSO.
constexpr int kAllowedToLibraries[] = {SYS_sysinfo, SYS_sched_getaffinity, SYS_time};

// What is none of these. A sanitizer opens files, starts a process and looks into ours for its report: it has
// to come out, and only the kernel's log tells of the calls.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint32_t kOthers = SECCOMP_RET_LOG;
#else
constexpr uint32_t kOthers = SECCOMP_RET_KILL_PROCESS;
#endif

constexpr sock_filter load(size_t offset) {
  return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset));
}

std::vector<sock_filter> filter_program() {
  std::vector<sock_filter> program{
      load(offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      load(offsetof(seccomp_data, nr)),
  };
  // Each: if it is this one, the next statement allows it; else behind that. x32's numbers are none of these.
  const auto allow = [&program](int number) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(number), 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  };
  std::ranges::for_each(kAllowed, allow);
  std::ranges::for_each(kAllowedToLibraries, allow);
  // abort() signals this process.
  program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_tgkill, 0, 3));
  program.push_back(load(offsetof(seccomp_data, args)));
  program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(::getpid()), 0, 1));
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  program.push_back(BPF_STMT(BPF_RET | BPF_K, kOthers));
  return program;
}

// Raising a hard limit takes CAP_SYS_RESOURCE, which containers often lack.
bool lift_limit_of_locked_memory() {
  const rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
  if (::setrlimit(RLIMIT_MEMLOCK, &unlimited) == 0) return true;
  Segment::lock_where_possible();
  return false;
}

Result<void> become(const std::string& user) {
  const passwd* entry = ::getpwnam(user.c_str());
  if (entry == nullptr) return fail("there is no user {}; make one, or name another with --user", user);
  if (entry->pw_uid == 0) return fail("user {} is root; name another with --user", user);
  if (::setgroups(0, nullptr) != 0 || ::setresgid(entry->pw_gid, entry->pw_gid, entry->pw_gid) != 0 ||
      ::setresuid(entry->pw_uid, entry->pw_uid, entry->pw_uid) != 0)
    return fail("becoming user {}: {}", user, errno_text());
  return {};
}

// The bounding set and the ambient ones went with PR_SET_NO_NEW_PRIVS: nothing that could be executed brings
// any.
Result<void> clear_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capset, &header, none) != 0) return fail("capset: {}", errno_text());
  return {};
}

}  // namespace

Result<bool> drop_privileges(const std::string& user) {
  const bool unlimited = lift_limit_of_locked_memory();
  if (::geteuid() == 0) TRY(become(user));
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return fail("PR_SET_NO_NEW_PRIVS: {}", errno_text());
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return fail("PR_SET_DUMPABLE: {}", errno_text());
  TRY(clear_capabilities());
  return unlimited;
}

Result<void> confine_system_calls() {
  std::vector<sock_filter> program = filter_program();
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) != 0)
    return fail("seccomp: {}", errno_text());
  return {};
}

}  // namespace espalier::ike
