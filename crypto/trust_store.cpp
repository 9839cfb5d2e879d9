// Chains and revocation: TrustStore of certificate.hpp.
#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <climits>

#include "crypto/certificate.hpp"
#include "crypto/openssl.hpp"

namespace espalier::crypto {
namespace {

using Bytes = std::span<const uint8_t>;
using RevocationList = openssl::Owned<X509_CRL, ::X509_CRL_free>;
using Store = openssl::Owned<X509_STORE, ::X509_STORE_free>;
using StoreContext = openssl::Owned<X509_STORE_CTX, ::X509_STORE_CTX_free>;
using RevocationLists = std::vector<std::shared_ptr<X509_CRL>>;

struct FreeStack {
  void operator()(STACK_OF(X509) * stack) const { sk_X509_free(stack); }  // the certificates are not its own
};
using Stack = std::unique_ptr<STACK_OF(X509), FreeStack>;

constexpr int kMaxIntermediates = 8;
// 80 bits: neither MD5 nor SHA-1 sign certificates, and RSA has 1024 bits at least.
constexpr int kSecurityLevel = 1;

std::string text_of(const X509_NAME* name) {
  const uint8_t* der = nullptr;
  size_t bytes = 0;
  if (::X509_NAME_get0_der(name, &der, &bytes) != 1) return {};
  return name_text({der, bytes});
}

std::string refusal(const X509* certificate, std::string_view reason) {
  return fmt::format("{}: {}", text_of(::X509_get_subject_name(certificate)), reason);
}

bool has_list_of(const RevocationLists& lists, const X509* certificate) {
  const X509_NAME* issuer = ::X509_get_issuer_name(certificate);
  return std::ranges::any_of(lists, [&](const auto& list) {
    return ::X509_NAME_cmp(::X509_CRL_get_issuer(list.get()), issuer) == 0;
  });
}

// OpenSSL asks here about each fault. A list is wanted only of issuers of whom there is one; with one that
// cannot be used (another key, another scope) the certificate is refused.
int judge(int ok, X509_STORE_CTX* context) {
  if (ok == 1 || ::X509_STORE_CTX_get_error(context) != X509_V_ERR_UNABLE_TO_GET_CRL) return ok;
  const auto* lists = static_cast<const RevocationLists*>(::X509_STORE_CTX_get_app_data(context));
  if (has_list_of(*lists, ::X509_STORE_CTX_get_current_cert(context))) return 0;
  ::X509_STORE_CTX_set_error(context, X509_V_OK);
  return 1;
}

Store make_store(const std::vector<Certificate>& authorities, const RevocationLists& lists) {
  Store store(::X509_STORE_new());
  if (!store) return nullptr;
  for (const Certificate& authority : authorities)
    if (::X509_STORE_add_cert(store.get(), authority.native()) != 1) return nullptr;
  for (const auto& list : lists)
    if (::X509_STORE_add_crl(store.get(), list.get()) != 1) return nullptr;
  return store;
}

// Null: no memory.
Stack stack_of(std::span<const Certificate> certificates) {
  Stack stack(sk_X509_new_null());
  for (const Certificate& certificate : certificates)
    if (stack && sk_X509_push(stack.get(), certificate.native()) == 0) stack.reset();
  return stack;
}

void set_policy(X509_STORE_CTX* context, std::chrono::system_clock::time_point now) {
  X509_VERIFY_PARAM* policy = ::X509_STORE_CTX_get0_param(context);
  ::X509_VERIFY_PARAM_set_flags(policy, X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_CRL_CHECK |
                                            X509_V_FLAG_CRL_CHECK_ALL | X509_V_FLAG_EXTENDED_CRL_SUPPORT);
  ::X509_VERIFY_PARAM_set_time(policy, std::chrono::system_clock::to_time_t(now));
  ::X509_VERIFY_PARAM_set_depth(policy, kMaxIntermediates);
  ::X509_VERIFY_PARAM_set_auth_level(policy, kSecurityLevel);
}

// OpenSSL lets roots of X.509 version 1, and some others without basicConstraints, be authorities.
std::expected<void, std::string> check_authorities(STACK_OF(X509) * chain) {
  for (int i = 1; i < sk_X509_num(chain); ++i) {
    X509* authority = sk_X509_value(chain, i);
    if (::X509_check_ca(authority) != 1)
      return std::unexpected(refusal(authority, "is no authority (basicConstraints without CA)"));
  }
  return {};
}

// RFC 4945 section 5.1.3.2. X509_get_key_usage() of a certificate without the extension has every bit.
std::expected<void, std::string> check_leaf(X509* leaf) {
  if ((::X509_get_key_usage(leaf) & (X509v3_KU_DIGITAL_SIGNATURE | X509v3_KU_NON_REPUDIATION)) == 0)
    return std::unexpected(refusal(leaf, "its key usage does not allow signatures"));
  return {};
}

std::string reason_of(X509_STORE_CTX* context, const X509* leaf) {
  const X509* at = ::X509_STORE_CTX_get_current_cert(context);
  return refusal(at != nullptr ? at : leaf,
                 ::X509_verify_cert_error_string(::X509_STORE_CTX_get_error(context)));
}

RevocationList read_der_list(Bytes text) {
  if (text.size() > INT_MAX) return nullptr;
  const uint8_t* at = text.data();
  RevocationList list(::d2i_X509_CRL(nullptr, &at, static_cast<long>(text.size())));
  return at == text.data() + text.size() ? std::move(list) : nullptr;
}

// Empty: none, or one is damaged.
RevocationLists read_lists(Bytes text) {
  RevocationLists lists;
  const std::string_view all(reinterpret_cast<const char*>(text.data()), text.size());
  if (all.find("-----BEGIN ") == std::string_view::npos) {
    if (RevocationList list = read_der_list(text)) lists.push_back(std::move(list));
    return lists;
  }
  const openssl::Bio bio = openssl::read_only(text);
  if (!bio) return lists;
  ::ERR_clear_error();
  while (
      RevocationList list{::PEM_read_bio_X509_CRL(bio.get(), nullptr, openssl::refuse_passphrase, nullptr)})
    lists.push_back(std::move(list));
  if (ERR_GET_REASON(::ERR_peek_last_error()) != PEM_R_NO_START_LINE) lists.clear();
  ::ERR_clear_error();
  return lists;
}

}  // namespace

void TrustStore::add_authority(Certificate authority) {
  authorities_.push_back(std::move(authority));
}

std::expected<void, std::string> TrustStore::add_revocation_list(Bytes text) {
  const openssl::QuietErrors quiet;
  RevocationLists lists = read_lists(text);
  if (lists.empty()) return std::unexpected("not a certificate revocation list in PEM or DER");
  std::ranges::move(lists, std::back_inserter(lists_));
  return {};
}

std::expected<void, std::string> TrustStore::verify(const Certificate& leaf,
                                                    std::span<const Certificate> intermediates,
                                                    std::chrono::system_clock::time_point now) const {
  const openssl::QuietErrors quiet;
  const Store store = make_store(authorities_, lists_);
  const Stack others = stack_of(intermediates);
  const StoreContext context(::X509_STORE_CTX_new());
  if (!store || !others || !context ||
      ::X509_STORE_CTX_init(context.get(), store.get(), leaf.native(), others.get()) != 1 ||
      ::X509_STORE_CTX_set_app_data(context.get(), const_cast<RevocationLists*>(&lists_)) != 1)
    return openssl::failure("certificate chain");
  set_policy(context.get(), now);
  ::X509_STORE_CTX_set_verify_cb(context.get(), judge);
  if (::X509_verify_cert(context.get()) != 1) return std::unexpected(reason_of(context.get(), leaf.native()));
  if (auto result = check_authorities(::X509_STORE_CTX_get0_chain(context.get())); !result) return result;
  return check_leaf(leaf.native());
}

}  // namespace espalier::crypto
