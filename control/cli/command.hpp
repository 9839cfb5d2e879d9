// The CLI's commands: what each is called, takes and prints.
//
// A command is one row of commands() (command_table.cpp). It parses its own arguments (argument errors are
// usage errors), asks espalierd or reads a file, and prints a table or, with --json, the document.
#pragma once

#include <boost/program_options.hpp>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "control/cli/client.hpp"

namespace espalier::cli {

namespace po = boost::program_options;

inline constexpr int kDone = 0;
inline constexpr int kRefused = 1;
inline constexpr int kUsage = 2;

struct Invocation {
  std::string socket = "/run/espalier/control.sock";
  bool json = false;
  po::variables_map values;  // the command's own options and operands
};

struct Command {
  std::string_view name;      // "show nat rules"
  std::string_view operands;  // "PEER [TUNNEL]"; with FILTER any number of words, the last of which may be FILE
  std::string_view summary;   // half a line for the overview
  std::string_view help;      // some lines: what it shows or does, and what the words mean
  std::string_view example;
  void (*describe)(po::options_description& options);  // null: no options
  int (*run)(const Invocation& invocation);
};

std::span<const Command> commands();

// Printed once, at the top: "espalier: <text>" on stderr; returns kRefused. With an invocation that wants
// JSON also the document {"ok": false, "error": text}.
int refuse(const Error& error);
Json refusal_document(const Error& error);
int refuse(const Invocation& invocation, const Error& error);
// Asks espalierd. `request` is without paging; a refusal is an error with its text.
Result<Json> ask(const Invocation& invocation, const Json& request);
// Asks for all pages and joins the rows named `rows` into one document, at most `most` of them. The document
// has a cursor only where there are more.
Result<Json> ask_all(const Invocation& invocation, Json request, const char* rows, size_t most = SIZE_MAX);
// The document as it is.
int print_json(const Json& document);

// Commands that only show: the request, how to print its document, and nothing else.
int show(const Invocation& invocation, const Json& request, void (*print)(const Json& document));
int show_list(const Invocation& invocation, const Json& request, const char* rows,
              void (*print)(const Json& document), size_t most = SIZE_MAX);

// What a document holds, whatever espalierd's version made of it: text as it is and other values as JSON, "-"
// for null; fields that are absent or of another type as "-", 0, false, an empty list and null.
std::string text_of(const Json& value);
std::string text_of(const Json& object, const char* key);
const Json& rows_of(const Json& object, const char* key);
const Json& part_of(const Json& object, const char* key);
uint64_t number_of(const Json& object, const char* key);
bool flag_of(const Json& object, const char* key);

int run_check(const Invocation& invocation);
int run_capture(const Invocation& invocation);
int run_trace(const Invocation& invocation);
int run_apply(const Invocation& invocation);
int run_diff(const Invocation& invocation);
int run_explain(const Invocation& invocation);
int run_initiate(const Invocation& invocation);
int run_terminate(const Invocation& invocation);
int run_rekey(const Invocation& invocation);
int run_log(const Invocation& invocation);
int run_show_drops(const Invocation& invocation);
int run_show_translations(const Invocation& invocation);
void describe_capture(po::options_description& options);
void describe_trace(po::options_description& options);
void describe_apply(po::options_description& options);
void describe_explain(po::options_description& options);
void describe_drops(po::options_description& options);
void describe_translations(po::options_description& options);

void print_interfaces(const Json& document);
void print_routes(const Json& document);
void print_neighbors(const Json& document);
void print_policies(const Json& document);
void print_nat_rules(const Json& document);
void print_nat_translations(const Json& document);
void print_ike_sas(const Json& document);
void print_connections(const Json& document);
void print_ipsec_sas(const Json& document);
void print_pipeline(const Json& document);
void print_workers(const Json& document);
void print_status(const Json& document);

}  // namespace espalier::cli
