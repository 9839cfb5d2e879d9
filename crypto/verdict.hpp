// What the opening of a packet found, and the proof of it.
//
// Nothing but an engine's opening can make the proof (Authenticated) that a replay window asks for before it
// accepts a sequence number, so that "window first, authentication later" does not compile.
#pragma once

namespace espalier::crypto {

// That a packet's ICV was right. Made by opening only, reached by Verdict::proof().
class Authenticated {
 public:
  Authenticated(const Authenticated&) = delete;
  Authenticated& operator=(const Authenticated&) = delete;

 private:
  friend class Verdict;
  constexpr Authenticated() = default;
};

// What is said about one packet; not authentic until an engine says so.
class Verdict {
 public:
  Verdict() = default;
  bool authentic() const { return authentic_; }
  // Null when not authentic. Points to a constant; no lifetime to care for.
  const Authenticated* proof() const { return authentic_ ? &kProof : nullptr; }

 private:
  friend class EspEngine;
  explicit Verdict(bool authentic) : authentic_(authentic) {}
  static constexpr Authenticated kProof{};
  bool authentic_ = false;
};

}  // namespace espalier::crypto
