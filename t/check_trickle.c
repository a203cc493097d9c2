#include "supervisor/command.h"
#include "supervisor/config.h"
#include "supervisor/trickle.h"
#include "supervisor/trickle_lex.h"
#include "t/suite.h"

#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

/* What a query needs beside it. */
static const char rest[] = "onramp: [{id: m, type: metronome}]\n"
			   "offramp: [{id: w, type: ws, config: "
			   "{url: \"ws://h/\"}}]\n";

#define LOG \
	"define qos::wal operator w with max_elements = 9 end;" \
	"create operator w;select event from w into out;"

/* Something of everything. */
static const char whole[] =
    "### Of the module\n"
    "## Of what follows\n"
    "use tremor::system;\n"
    "use std::string as s;\n"
    "define qos::wal operator w\n"
    "with\n"
    "  read_count = 7, # some\n"
    "  max_elements = 0x10, max_bytes = 1_000_000,\n"
    "  on_full = \"drop_oldest\",\n"
    "end;\n"
    "create operator log from w;\n"
    "create stream `a-b`;\n"
    "select patch event of\n"
    "  insert a = \"x\\u00e4\\n\";\n"
    "  insert \"b c\" => {\"n\": [1, -2.50, null, true], d: {}};\n"
    "end from in/out into a-b/in;\n"
    "select patch event of upsert e = system::ingest_ns() end\n"
    "from a-b into log;\n"
    "select event from log into out;\n";

/* A configuration with a query, and what is wrong with it. */
struct fixture {
	struct config config;
	struct faults faults, notes;
};

/* Reads a copy of exactly that size, so that a read beyond it is seen. */
static void
open_bytes(struct fixture *f, const char *query, size_t n)
{
	uint8_t *in = malloc(n == 0 ? 1 : n);

	ck_assert_ptr_nonnull(in);
	memcpy(in, query, n);
	config_init(&f->config);
	faults_init(&f->faults);
	faults_init(&f->notes);
	config_add_query(
	    &f->config, "q.trickle", "/etc", "q", in, n, &f->faults);
	config_add(&f->config, "c.yaml", "/etc", (const uint8_t *)rest,
	    sizeof(rest) - 1, &f->faults);
	if (f->faults.count == 0)
		config_finish(&f->config, &f->faults, &f->notes);
	free(in);
}

static void
close_fixture(struct fixture *f)
{
	faults_fini(&f->faults);
	faults_fini(&f->notes);
	config_fini(&f->config);
}

/* Checks what the log's command comes to, behind the options of any. */
static void
assert_log(const char *query, const char *wanted)
{
	const struct command_context context = {
	    .bin_dir = "/bin", .state_dir = "/state"};
	static const char front[] =
	    "/bin/walproc -d /state/01/q --instance 01 ";
	struct command command;
	struct fixture f;
	char *line;

	open_bytes(&f, query, strlen(query));
	ck_assert_msg(f.faults.count == 0, "%s: %s", query, f.faults.text[0]);
	command_init(&command, STAGE_WAL, 0, f.config.instances[0], &context);
	line = command_quote(&command);
	ck_assert_mem_eq(line, front, sizeof(front) - 1);
	ck_assert_str_eq(line + sizeof(front) - 1, wanted);
	free(line);
	command_fini(&command);
	close_fixture(&f);
}

/* Checks the only fault of a query, and its place. */
static void
assert_fault(const char *query, const char *wanted)
{
	struct fixture f;

	open_bytes(&f, query, strlen(query));
	ck_assert_msg(
	    f.faults.count == 1, "%s: %zu faults", query, f.faults.count);
	ck_assert_str_eq(f.faults.text[0], wanted);
	close_fixture(&f);
}

START_TEST(test_whole)
{
	assert_log(whole,
	    "--read-count 7 --max-elements 16 --max-bytes 1000000 "
	    "--on-full drop_oldest --insert $'a=x\\303\\244\\n' "
	    "--insert 'b c={\"n\":[1,-2.50,null,true],\"d\":{}}' "
	    "--upsert 'e=${ingest_ns}'");
}
END_TEST

/* What was accepted is a pipeline; what was not has a fault. */
static void
assert_answer(const char *bytes, size_t n)
{
	struct fixture f;

	open_bytes(&f, bytes, n);
	ck_assert(f.faults.count > 0 || f.config.instance_count == 1);
	close_fixture(&f);
}

START_TEST(test_cut_at_every_byte)
{
	for (size_t cut = 0; cut < sizeof(whole); cut++)
		assert_answer(whole, cut);
}
END_TEST

START_TEST(test_each_byte_replaced)
{
	static const char bytes[] = {'\0', '\xff', '"', '{', '#', '$', '\\',
	    ';', 'x', '0', '\n', '-', '}', '`', '\xc3'};
	char copy[sizeof(whole)];

	for (size_t i = 0; i < sizeof(whole) - 1; i++) {
		for (size_t j = 0; j < sizeof(bytes); j++) {
			memcpy(copy, whole, sizeof(whole));
			copy[i] = bytes[j];
			assert_answer(copy, sizeof(whole) - 1);
		}
	}
}
END_TEST

/* The token that is all of `text`, or NULL; with its kind. */
static char *
only_token(const char *text, enum trickle_kind *kind)
{
	struct trickle_lexer lexer;
	struct trickle_token token, end;
	struct faults faults;
	char *result = NULL;

	faults_init(&faults);
	trickle_lex_init(
	    &lexer, "f", (const uint8_t *)text, strlen(text), &faults);
	if (trickle_lex_next(&lexer, &token) == 0) {
		result = token.text;
		*kind = token.kind;
		ck_assert_int_eq(trickle_lex_next(&lexer, &end), 0);
		ck_assert_int_eq(end.kind, TRICKLE_END);
		free(end.text);
	}
	ck_assert_uint_eq(faults.count, result == NULL ? 1 : 0);
	faults_fini(&faults);
	return result;
}

/* One token each; NULL: refused. */
START_TEST(test_tokens)
{
	static const struct {
		const char *in;
		enum trickle_kind kind;
		const char *text;
	} table[] = {
	    {"", TRICKLE_END, ""},
	    {" \t\r\n # x\n## y\n### z", TRICKLE_END, ""},
	    {"on-disk_2", TRICKLE_NAME, "on-disk_2"},
	    {"_x", TRICKLE_NAME, "_x"},
	    {"`end`", TRICKLE_NAME, "end"},
	    {"end", TRICKLE_WORD, "end"},
	    {"End", TRICKLE_NAME, "End"},
	    {"0", TRICKLE_INTEGER, "0"},
	    {"007", TRICKLE_INTEGER, "7"},
	    {"00", TRICKLE_INTEGER, "0"},
	    {"1_000_", TRICKLE_INTEGER, "1000"},
	    {"18446744073709551615", TRICKLE_INTEGER, "18446744073709551615"},
	    {"0xff", TRICKLE_INTEGER, "255"},
	    {"0xFFFF_FFFF_FFFF_FFFF", TRICKLE_INTEGER, "18446744073709551615"},
	    {"1.50", TRICKLE_FLOAT, "1.50"},
	    {"00.5", TRICKLE_FLOAT, "0.5"},
	    {"1.0e-3", TRICKLE_FLOAT, "1.0e-3"},
	    {"1E+3", TRICKLE_FLOAT, "1E+3"},
	    {"1.7e308", TRICKLE_FLOAT, "1.7e308"},
	    {"\"\"", TRICKLE_STRING, ""},
	    {"\"a # b\"", TRICKLE_STRING, "a # b"},
	    {"\"{}\"", TRICKLE_STRING, "{}"},
	    {"\"$5 }\"", TRICKLE_STRING, "$5 }"},
	    {"\"\\\"\\'\\\\\\/\\{\\}\\#\\b\\f\\n\\r\\t\"", TRICKLE_STRING,
		"\"'\\/{}#\b\f\n\r\t"},
	    {"\"\\u0041\\u00e4\\u20ac\\uffff\"", TRICKLE_STRING,
		"A\xc3\xa4\xe2\x82\xac\xef\xbf\xbf"},
	    {"\"\xc3\xa4\"", TRICKLE_STRING, "\xc3\xa4"},
	    {"::", TRICKLE_SYMBOL, "::"},
	    {"=>", TRICKLE_SYMBOL, "=>"},
	    {">>>", TRICKLE_SYMBOL, ">>>"},
	    {"18446744073709551616", TRICKLE_END, NULL},
	    {"0x10000000000000000", TRICKLE_END, NULL},
	    {"0x", TRICKLE_END, NULL},
	    {"0xg", TRICKLE_END, NULL},
	    {"1.8e308", TRICKLE_END, NULL},
	    {"1.", TRICKLE_END, NULL},
	    {"1.2.3", TRICKLE_END, NULL},
	    {"1e", TRICKLE_END, NULL},
	    {"12ab", TRICKLE_END, NULL},
	    {"\"", TRICKLE_END, NULL},
	    {"\"a\nb\"", TRICKLE_END, NULL},
	    {"\"\\", TRICKLE_END, NULL},
	    {"\"\\x\"", TRICKLE_END, NULL},
	    {"\"\\u12\"", TRICKLE_END, NULL},
	    {"\"\\u0000\"", TRICKLE_END, NULL},
	    {"\"\\ud800\"", TRICKLE_END, NULL},
	    {"\"#{x}\"", TRICKLE_END, NULL},
	    {"\"{x}\"", TRICKLE_END, NULL},
	    {"\"${x}\"", TRICKLE_END, NULL},
	    {"\"$\\{x}\"", TRICKLE_END, NULL},
	    {"\"\\u0024\\{x}\"", TRICKLE_END, NULL},
	    {"\"\"\"", TRICKLE_END, NULL},
	    {"`", TRICKLE_END, NULL},
	    {"``", TRICKLE_END, NULL},
	    {"`a b`", TRICKLE_END, NULL},
	    {"#!config", TRICKLE_END, NULL},
	    {"'", TRICKLE_END, NULL},
	    {"\xc3\xa4", TRICKLE_END, NULL},
	};

	for (size_t i = 0; i < COUNT(table); i++) {
		enum trickle_kind kind = TRICKLE_END;
		char *text = only_token(table[i].in, &kind);

		ck_assert_msg((text == NULL) == (table[i].text == NULL), "%s",
		    table[i].in);
		if (text != NULL)
			ck_assert_str_eq(text, table[i].text);
		ck_assert_int_eq(kind, table[i].kind);
		free(text);
	}
}
END_TEST

/* Columns count characters, also those of comments and strings. */
START_TEST(test_places)
{
	static const char query[] = "\xef\xbb\xbf# \xe2\x82\xac\r\n"
				    "\tuse\n"
				    "`x`::y;";

	assert_fault(query, "q.trickle:3:1: the module x::y is not supported; "
			    "known: those in tremor and std");
	assert_fault("create stream \"\xc3\xa4\xf0\x9f\x98\x80\" x",
	    "q.trickle:1:15: the name of a stream is expected here, not the "
	    "string \"\xc3\xa4\xf0\x9f\x98\x80\"");
	assert_fault("a\n", "q.trickle:1:1: \"use\", \"define\", \"create\" or "
			    "\"select\" is expected here, not the name \"a\"");
	assert_fault("use std \xc3\xa4", "q.trickle:1:9: this character stands "
					 "in strings and comments only");
}
END_TEST

/* The two forms of a definition, of an arrow, and of what is between. */
START_TEST(test_versions)
{
	static const char wanted[] = "--read-count 20 --max-elements 9 "
				     "--insert a=1 --upsert b=2";

	assert_log(LOG "select patch event of insert a = 1; upsert b = 2 end "
		       "from in into w",
	    wanted);
	assert_log("define operator w from qos::wal with max_elements = 9 end;"
		   "create operator w; select event from w into out;"
		   "select patch event of insert \"a\" => 1, "
		   "upsert \"b\" => 2, end from in into w",
	    wanted);
}
END_TEST

/* Behind the log is as good as before it, and in what order they are written
 * does not matter. */
START_TEST(test_order_on_the_way)
{
	assert_log("select patch event of upsert c = 3 end from x into out;"
		   "create stream x;"
		   "select patch event of insert b = 2 end from w into x;"
		   "create operator w;"
		   "select patch event of insert a = 1 end from in into w;"
		   "define qos::wal operator w with max_bytes = 20000 end",
	    "--read-count 20 --max-bytes 20000 --insert a=1 --insert b=2 "
	    "--upsert c=3");
}
END_TEST

START_TEST(test_modules)
{
	static const char *const calls[] = {"", "use tremor;",
	    "use tremor::system;", "use tremor::system as sys;"};
	static const char *const names[] = {
	    "system::", "tremor::system::", "tremor::system::", "sys::"};
	char query[512];

	for (size_t i = 0; i < COUNT(calls); i++) {
		(void)snprintf(query, sizeof(query),
		    "%s" LOG "select patch event of insert a = %sinstance() "
		    "end from in into w",
		    calls[i], names[i]);
		assert_log(query, "--read-count 20 --max-elements 9 "
				  "--insert 'a=${instance}'");
	}
	assert_fault("use std::x as system;" LOG
		     "select patch event of insert a = system::instance() "
		     "end from in into w",
	    "q.trickle:1:155: the function std::x::instance is not supported; "
	    "known: system::hostname, system::instance, system::ingest_ns");
}
END_TEST

/* Writes `count` times `text` behind what is in `out`. */
static void
repeat(char *out, const char *text, size_t count)
{
	out += strlen(out);
	for (size_t i = 0; i < count; i++) {
		memcpy(out, text, strlen(text) + 1);
		out += strlen(text);
	}
}

START_TEST(test_depth)
{
	char query[512];

	for (size_t depth = 26; depth <= 27; depth++) {
		struct fixture f;

		(void)snprintf(query, sizeof(query),
		    LOG "select patch event of insert a = ");
		repeat(query, "[", depth);
		repeat(query, "]", depth);
		repeat(query, " end from in into w", 1);
		open_bytes(&f, query, strlen(query));
		ck_assert_uint_eq(f.faults.count, depth - 26);
		if (depth > 26)
			ck_assert_ptr_nonnull(strstr(
			    f.faults.text[0], "nested more than 26 deep"));
		close_fixture(&f);
	}
}
END_TEST

START_TEST(test_counts)
{
	static const struct {
		const char *before, *each, *after;
	} table[] = {
	    {"", "use std;", ""},
	    {"", "create stream x;", ""},
	    {"", "define qos::wal operator x;", ""},
	    {"", "select event from in into out;", ""},
	    {LOG "select patch event of insert a = [", "1,",
		"] end from in into w"},
	    {LOG "select patch event of ", "erase a;", "end from in into w"},
	};
	char *query = malloc(64 << 10);

	ck_assert_ptr_nonnull(query);
	for (size_t i = 0; i < COUNT(table); i++) {
		for (size_t count = 1000; count <= 1001; count++) {
			struct fixture f;
			bool is_told = false;

			query[0] = '\0';
			repeat(query, table[i].before, 1);
			repeat(query, table[i].each, count);
			repeat(query, table[i].after, 1);
			open_bytes(&f, query, strlen(query));
			for (size_t j = 0; j < f.faults.count; j++)
				if (strstr(f.faults.text[j], "more than 1000"))
					is_told = true;
			ck_assert_int_eq(is_told, count > 1000);
			close_fixture(&f);
		}
	}
	free(query);
}
END_TEST

/* What makes no sense together is told at once, up to the number of faults
 * that there is room for. */
START_TEST(test_all_at_once)
{
	static const char query[] = "create stream in;\n"
				    "create operator x;\n"
				    "create stream y;\n"
				    "create stream y;\n"
				    "select event from z into err;\n"
				    "select event from out into in;\n"
				    "select event from y into out;\n"
				    "select event from y into out;\n";
	static const char *const places[] = {
	    "1:15", "2:17", "4:15", "5:19", "5:26", "6:19", "8:19", "8:26"};
	struct fixture f;

	open_bytes(&f, query, sizeof(query) - 1);
	ck_assert_uint_eq(f.faults.count, COUNT(places));
	for (size_t i = 0; i < COUNT(places); i++) {
		char start[64];

		(void)snprintf(
		    start, sizeof(start), "q.trickle:%s: ", places[i]);
		ck_assert_mem_eq(f.faults.text[i], start, strlen(start));
	}
	close_fixture(&f);
}
END_TEST

/* The tree alone: what a YAML file has too. */
START_TEST(test_tree)
{
	static const char query[] =
	    LOG "select merge event of {\"a\": null} end from in into w";
	struct faults faults;
	struct tree_node *root;
	const struct tree_node *entry, *patch;

	faults_init(&faults);
	root = trickle_parse(
	    "f", "p", (const uint8_t *)query, sizeof(query) - 1, &faults);
	ck_assert_ptr_nonnull(root);
	entry = &tree_find(root, "pipeline")->items[0];
	ck_assert_str_eq(tree_find(entry, "id")->text, "p");
	ck_assert_str_eq(
	    tree_find(tree_find(entry, "wal"), "max_elements")->text, "9");
	patch = tree_find(entry, "patch");
	ck_assert_int_eq(patch->kind, TREE_LIST);
	patch = tree_find(&patch->items[0], "merge_event");
	ck_assert(tree_is_null(tree_find(patch, "a")));
	tree_free(root);
	ck_assert_ptr_null(trickle_parse(
	    "f", ".p", (const uint8_t *)query, sizeof(query) - 1, &faults));
	ck_assert_uint_eq(faults.count, 1);
	faults_fini(&faults);
}
END_TEST

/* Two maps say it only where each key is there once, and inserts come first. */
START_TEST(test_two_maps_or_a_list)
{
	static const struct {
		const char *operations;
		bool is_list;
	} table[] = {
	    {"insert a = 1; insert b = 2", false},
	    {"upsert a = 1; upsert b = 2", false},
	    {"insert a = 1; upsert b = 2", false},
	    {"upsert a = 1; insert b = 2", true},
	    {"insert a = 1; upsert b = 2; insert c = 3", true},
	    {"insert a = 1; upsert a = 2", true},
	    {"upsert a = 1; upsert a = 2", true},
	    {"update a = 1", true},
	    {"erase a", true},
	    {"insert a = 1; erase b", true},
	    {"merge a = {}", true},
	    {"merge = {}", true},
	};

	for (size_t i = 0; i < COUNT(table); i++) {
		struct faults faults;
		struct tree_node *root;
		const struct tree_node *entry, *list;
		char query[512];

		(void)snprintf(query, sizeof(query),
		    LOG "select patch event of %s end from in into w",
		    table[i].operations);
		faults_init(&faults);
		root = trickle_parse(
		    "f", "p", (const uint8_t *)query, strlen(query), &faults);
		ck_assert_ptr_nonnull(root);
		entry = &tree_find(root, "pipeline")->items[0];
		list = tree_find(entry, "patch");
		ck_assert_msg((list != NULL) == table[i].is_list, "%s",
		    table[i].operations);
		ck_assert((tree_find(entry, "insert") != NULL ||
			      tree_find(entry, "upsert") != NULL) !=
			  table[i].is_list);
		tree_free(root);
		faults_fini(&faults);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("trickle");
	TCase *tests = tcase_create("trickle");

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, test_whole);
	tcase_add_test(tests, test_cut_at_every_byte);
	tcase_add_test(tests, test_each_byte_replaced);
	tcase_add_test(tests, test_tokens);
	tcase_add_test(tests, test_places);
	tcase_add_test(tests, test_versions);
	tcase_add_test(tests, test_order_on_the_way);
	tcase_add_test(tests, test_modules);
	tcase_add_test(tests, test_depth);
	tcase_add_test(tests, test_counts);
	tcase_add_test(tests, test_all_at_once);
	tcase_add_test(tests, test_tree);
	tcase_add_test(tests, test_two_maps_or_a_list);
	tcase_set_timeout(tests, 60);
	return suite_run(suite);
}
