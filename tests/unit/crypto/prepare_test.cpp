// crypto/prepare.hpp: afterwards everything of crypto/ works in a process that the kernel kills when it opens
// a file.
#include "crypto/prepare.hpp"

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>

#include "crypto/certificate.hpp"
#include "crypto/ike_cipher.hpp"
#include "crypto/key_exchange.hpp"
#include "crypto/prf.hpp"
#include "crypto/random.hpp"
#include "tests/unit/crypto/pki_files.hpp"

namespace espalier::crypto {
namespace {

using test::read_data;
using Bytes = std::vector<uint8_t>;

// Every way to a file, another program or the network ends the process with SIGSYS.
bool close_file_system() {
  constexpr uint32_t kClosed[] = {SYS_open,   SYS_openat, SYS_openat2,    SYS_creat,
                                  SYS_stat,   SYS_lstat,  SYS_newfstatat, SYS_statx,
                                  SYS_access, SYS_socket, SYS_execve,     SYS_readlink};
  std::vector<sock_filter> program{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
  for (const uint32_t number : kClosed) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

// What waitpid() says of a child that did `work`, which returns the number to exit with.
int status_of(const std::function<int()>& work) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(work());
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

// Read before the door closes.
struct Files {
  Bytes rsa = read_data("keys/rsa.pem"), encrypted = read_data("keys/rsa-encrypted.pem");
  Bytes old_encrypted = read_data("keys/rsa-pkcs1-encrypted.pem"), scrypt = read_data("keys/rsa-scrypt.pem");
  Bytes ec = read_data("keys/ec384.pem"), ed25519 = read_data("keys/ed25519.pem");
  Bytes rfc3110 = read_data("keys/rsa.rfc3110"), root = read_data("pki/root.pem");
  Bytes bundle = read_data("pki/bundle.pem"), list = read_data("pki/middle.crl");
};

bool exchange_keys() {
  for (const uint16_t group : {2, 5, 14, 15, 16, 19, 20, 21, 31, 32}) {
    const auto one = KeyExchange::generate(group), two = KeyExchange::generate(group);
    if (!one || !two || !one->derive(two->public_value())) return false;
  }
  return true;
}

bool protect() {
  const EspSuite suites[] = {{Cipher::kAesGcm, Integrity::kNone, 32, 16},
                             {Cipher::kChaCha20Poly1305, Integrity::kNone, 32, 16},
                             {Cipher::kAesCbc, Integrity::kHmacSha384, 16, 24}};
  for (const EspSuite& suite : suites) {
    const Bytes key(size_t{suite.key_bytes} + suite.salt_bytes(), 1), hmac(suite.auth_key_bytes(), 2),
        text(32, 3);
    const auto cipher = IkeCipher::create(suite, key, hmac);
    Bytes sealed;
    if (!cipher || !cipher->seal(text, text, 1, sealed) || !cipher->open(text, sealed)) return false;
    sealed.back() ^= 1;
    if (cipher->open(text, sealed)) return false;
  }
  const Bytes key(20, 1);
  return prf_plus(Prf::kHmacSha512, key, {key}, 300) && sha1({key});
}

bool sign(const Files& files) {
  const std::pair<const Bytes&, SignatureScheme> all[] = {
      {files.rsa, {KeyType::kRsa, Hash::kSha512, RsaPadding::kPkcs1}},
      {files.encrypted, {KeyType::kRsa, Hash::kSha256, RsaPadding::kPss}},
      {files.old_encrypted, {KeyType::kRsa, Hash::kSha1, RsaPadding::kPkcs1}},
      {files.scrypt, {KeyType::kRsa, Hash::kSha384, RsaPadding::kPss}},
      {files.ec, {KeyType::kEcdsaP384, Hash::kSha384, RsaPadding::kPkcs1}},
      {files.ed25519, {KeyType::kEd25519, Hash::kIdentity, RsaPadding::kPkcs1}}};
  for (const auto& [text, scheme] : all) {
    const auto key = PrivateKey::parse(text, "secret");
    if (!key) return false;
    const auto signature = key->sign(scheme, files.root);
    if (!signature || !key->public_key().verify(scheme, files.root, *signature)) return false;
    if (key->public_key().verify(scheme, files.list, *signature)) return false;
  }
  return !PrivateKey::parse(files.encrypted, "wrong") && PublicKey::parse(files.rfc3110);
}

bool verify(const Files& files) {
  TrustStore store;
  store.add_authority(Certificate::parse(files.root).value());
  const auto all = Certificate::parse_all(files.bundle).value();
  return store.add_revocation_list(files.list) && store.verify(all[0], all, test::day(2027, 1, 1)) &&
         !store.verify(all[0], all, test::day(2030, 1, 1)) && !all[0].public_key()->to_der().empty() &&
         all[0].not_after() > all[0].not_before() && parse_distinguished_name(all[0].subject_text());
}

// What says that it is encrypted, though only private keys ever are: for a passphrase OpenSSL would go to the
// terminal. A certificate may come from a peer that nobody has authenticated.
bool refuse_encrypted() {
  const auto pem = [](const std::string& kind) {
    const std::string text = "-----BEGIN " + kind +
                             "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,"
                             "00112233445566778899AABBCCDDEEFF\n\nAAAAAAAAAAAAAAAAAAAAAA==\n-----END " +
                             kind + "-----\n";
    return Bytes(text.begin(), text.end());
  };
  TrustStore store;
  return !Certificate::parse(pem("CERTIFICATE")) && !Certificate::parse_all(pem("CERTIFICATE")) &&
         !store.add_revocation_list(pem("X509 CRL")) && !PublicKey::parse(pem("PUBLIC KEY"));
}

TEST(Prepare, NoFileIsOpenedAfterwards) {
  const Files files;
  const int status = status_of([&] {
    if (!prepare() || !close_file_system()) return 1;
    if (!exchange_keys()) return 2;
    if (!protect()) return 3;
    if (!sign(files)) return 4;
    if (!verify(files)) return 5;
    if (!refuse_encrypted()) return 6;
    Bytes random(100000);
    return fill_random(random) && prepare() ? 0 : 7;
  });
  EXPECT_TRUE(WIFEXITED(status)) << "killed by signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(Prepare, TheTestWouldSeeAFileOpened) {
  const int status = status_of([] { return close_file_system() && std::ifstream("/etc/hostname") ? 0 : 1; });
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGSYS);
}

// A configuration that leaves OpenSSL without a single algorithm.
TEST(Prepare, ReadsNoConfigurationFile) {
  char name[] = "/tmp/openssl-conf-XXXXXX";
  const int file = ::mkstemp(name);
  ASSERT_GE(file, 0);
  constexpr std::string_view kText =
      "openssl_conf = a\n[a]\nalg_section = b\n[b]\ndefault_properties = nobody=has\n";
  ASSERT_EQ(::write(file, kText.data(), kText.size()), static_cast<ssize_t>(kText.size()));
  const int status =
      status_of([&] { return ::setenv("OPENSSL_CONF", name, 1) == 0 && prepare() && protect() ? 0 : 1; });
  ::close(file);
  ::unlink(name);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

}  // namespace
}  // namespace espalier::crypto
