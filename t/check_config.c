#include "supervisor/command.h"
#include "supervisor/config.h"
#include "supervisor/keys.h"
#include "supervisor/patch_list.h"
#include "supervisor/tree.h"
#include "supervisor/url.h"
#include "t/suite.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static const char whole[] =
    "state_dir: state\n"
    "shutdown_timeout: 1.25\n"
    "onramp: [{id: m, type: metronome, config: {interval: 7}}]\n"
    "pipeline: [{id: p, insert: {a: 1}, upsert: {b: \"x y\"}, patch: ["
    "{erase: [c]}, {update: {a: 2}}, {merge: {d: {e: ~}}}, {merge_event: {}}],"
    "\n"
    "    wal: {max_bytes: 10485760}}]\n"
    "offramp: [{id: w, type: ws, config: {url: \"ws://h/\", key: k,\n"
    "    cert: c, ping_timeout: 0.5}}]\n"
    "binding: [{id: b, links: {\n"
    "    \"/onramp/m/{instance}/out\": [\"/pipeline/p/{instance}/in\"],\n"
    "    \"/pipeline/p/{instance}/out\": [\"/offramp/w/{instance}/in\"]}}]\n"
    "mapping: {/binding/b/1: {instance: 01}}\n";

/* A configuration and what is wrong with it. */
struct fixture {
	struct config config;
	struct faults faults, notes;
};

/* Reads a copy of exactly that size, so that a read beyond it is seen. */
static void
open_bytes(struct fixture *f, const void *text, size_t n)
{
	uint8_t *in = malloc(n == 0 ? 1 : n);

	ck_assert_ptr_nonnull(in);
	memcpy(in, text, n);
	config_init(&f->config);
	faults_init(&f->faults);
	faults_init(&f->notes);
	config_add(&f->config, "c.yaml", "/etc/walpipe", in, n, &f->faults);
	if (f->faults.count == 0)
		config_finish(&f->config, &f->faults, &f->notes);
	free(in);
}

static void
open_text(struct fixture *f, const char *text)
{
	open_bytes(f, text, strlen(text));
}

static void
close_fixture(struct fixture *f)
{
	faults_fini(&f->faults);
	faults_fini(&f->notes);
	config_fini(&f->config);
}

/* The command of a stage of the only instance, as a shell reads it. */
static char *
command_line(const struct fixture *f, enum stage_kind kind, size_t index,
    bool is_sandboxed)
{
	const struct command_context context = {
	    .bin_dir = "/bin",
	    .state_dir = "/state",
	    .is_sandboxed = is_sandboxed,
	};
	struct command command;
	char *line;

	command_init(&command, kind, index, f->config.instances[0], &context);
	line = command_quote(&command);
	command_fini(&command);
	return line;
}

START_TEST(test_whole)
{
	static const struct {
		enum stage_kind kind;
		const char *line;
	} table[] = {
	    {STAGE_SOURCE, "/bin/metronome --interval 7 --id m"},
	    {STAGE_WAL,
		"/bin/walproc -d /state/01/p --instance 01 --read-count 20 "
		"--max-bytes 10485760 --insert a=1 --upsert 'b=x y' --erase c "
		"--update a=2 --merge 'd={\"e\":null}' --merge-event '{}'"},
	    {STAGE_SINK, "/bin/wssink -u ws://h/ --ping-timeout 0.500 "
			 "--cert /etc/walpipe/c --key /etc/walpipe/k"},
	};
	struct fixture f;

	open_text(&f, whole);
	ck_assert_uint_eq(f.faults.count, 0);
	ck_assert_uint_eq(f.notes.count, 0);
	ck_assert_uint_eq(f.config.instance_count, 1);
	ck_assert_str_eq(f.config.state_dir.text, "/etc/walpipe/state");
	ck_assert_uint_eq(f.config.shutdown_timeout.number, 1250);
	for (size_t i = 0; i < COUNT(table); i++) {
		char *line = command_line(&f, table[i].kind, 0, false);
		char *boxed = command_line(&f, table[i].kind, 0, true);
		size_t bytes = strlen(line);

		ck_assert_str_eq(line, table[i].line);
		ck_assert_mem_eq(boxed, line, bytes);
		ck_assert_str_eq(boxed + bytes, " --sandbox");
		free(line);
		free(boxed);
	}
	close_fixture(&f);
}
END_TEST

static const char fan[] =
    "onramp:\n"
    "  - {id: m, type: metronome}\n"
    "  - {id: x, type: exec, config: {command: [/bin/cat]}}\n"
    "  - {id: unused, type: metronome}\n"
    "pipeline: [{id: p, wal: {max_elements: 9}}]\n"
    "offramp:\n"
    "  - {id: m, type: ws, config: {url: \"ws://h/m\"}}\n"
    "  - {id: w, type: ws, config: {url: \"ws://h/w\"}}\n"
    "binding: [{id: b, links: {\n"
    "    \"/onramp/x/{instance}/out\": [\"/pipeline/p/{instance}/in\"],\n"
    "    \"/onramp/m/{instance}/out\": [\"/pipeline/p/{instance}/in\"],\n"
    "    \"/pipeline/p/{instance}/out\": [\"/offramp/w/{instance}/in\",\n"
    "        \"/offramp/m/{instance}/in\"]}}]\n"
    "mapping: {/binding/b/1: {instance: \"1\"}}\n";

/* Several of a kind stand in the order of the links; an onramp and an offramp
 * may have one name. */
START_TEST(test_fan)
{
	static const struct {
		enum stage_kind kind;
		size_t index;
		const char *id, *line;
	} table[] = {
	    {STAGE_COMMAND, 0, "x", "/bin/cat"},
	    {STAGE_SOURCE, 0, "x", "/bin/onramp"},
	    {STAGE_COMMAND, 1, "m", ""},
	    {STAGE_SOURCE, 1, "m", "/bin/metronome --interval 1000 --id m"},
	    {STAGE_SINK, 0, "w", "/bin/wssink -u ws://h/w"},
	    {STAGE_SINK, 1, "m", "/bin/wssink -u ws://h/m"},
	};
	struct fixture f;

	open_text(&f, fan);
	ck_assert_uint_eq(f.faults.count, 0);
	ck_assert_uint_eq(f.notes.count, 1);
	ck_assert_ptr_nonnull(strstr(f.notes.text[0], "\"unused\""));
	for (size_t i = 0; i < COUNT(table); i++) {
		char *line =
		    command_line(&f, table[i].kind, table[i].index, false);

		ck_assert_uint_eq(
		    command_stages(table[i].kind, f.config.instances[0]), 2);
		ck_assert_str_eq(command_stage_id(table[i].kind, table[i].index,
				     f.config.instances[0]),
		    table[i].id);
		ck_assert_str_eq(line, table[i].line);
		free(line);
	}
	close_fixture(&f);
}
END_TEST

/* What is accepted as an onramp of another type gives its commands. */
START_TEST(test_types_of_onramps)
{
	static const char rest[] =
	    "pipeline: [{id: p, wal: {max_bytes: 20000}}]\n"
	    "offramp: [{id: w, type: ws, config: {url: \"ws://h/\"}}]\n";
	static const struct {
		const char *onramp;
		enum config_source source;
		enum config_restart restart;
		const char *command;
	} table[] = {
	    {"type: metronome", CONFIG_METRONOME, CONFIG_ALWAYS, ""},
	    {"type: metronome, config: {count: 1}", CONFIG_METRONOME,
		CONFIG_ON_FAILURE, ""},
	    {"type: stdin", CONFIG_STDIN, CONFIG_ON_FAILURE, ""},
	    {"type: exec, config: {command: [./a, ./b, 1, '']}", CONFIG_EXEC,
		CONFIG_ALWAYS, "/etc/walpipe/a ./b 1 ''"},
	    {"type: exec, config: {command: [a], restart: on-failure}",
		CONFIG_EXEC, CONFIG_ON_FAILURE, "a"},
	    {"type: exec, config: {command: [a], restart: never}", CONFIG_EXEC,
		CONFIG_NEVER, "a"},
	};

	for (size_t i = 0; i < COUNT(table); i++) {
		const struct config_onramp *onramp;
		struct command command;
		struct fixture f;
		char text[512], *line;

		(void)snprintf(text, sizeof(text), "onramp: [{id: m, %s}]\n%s",
		    table[i].onramp, rest);
		open_text(&f, text);
		ck_assert_uint_eq(f.faults.count, 0);
		onramp = f.config.onramps[0];
		ck_assert_int_eq(config_source_of(onramp), table[i].source);
		ck_assert_int_eq(config_restart_of(onramp), table[i].restart);
		command_init(&command, STAGE_COMMAND, 0, f.config.instances[0],
		    &(struct command_context){0});
		line = command_quote(&command);
		ck_assert_str_eq(line, table[i].command);
		free(line);
		command_fini(&command);
		close_fixture(&f);
	}
}
END_TEST

/* A file that ends anywhere is refused or whole, and never read beyond. */
START_TEST(test_cut_at_every_byte)
{
	for (size_t cut = 0; cut < sizeof(whole) - 2; cut++) {
		struct fixture f;

		open_bytes(&f, whole, cut);
		ck_assert(f.faults.count > 0 || f.config.instance_count == 1);
		close_fixture(&f);
	}
}
END_TEST

START_TEST(test_each_byte_replaced)
{
	static const char bytes[] = {0, 1, '\n', '\t', '"', '{', '}', ':', '-',
	    '&', '*', '!', '0', 'z', (char)0x80, (char)0xff};

	for (size_t at = 0; at < sizeof(whole) - 1; at++) {
		for (size_t i = 0; i < COUNT(bytes); i++) {
			char text[sizeof(whole)];
			struct fixture f;

			memcpy(text, whole, sizeof(whole));
			text[at] = bytes[i];
			open_bytes(&f, text, sizeof(whole) - 1);
			ck_assert(
			    f.faults.count > 0 || f.config.instance_count > 0);
			close_fixture(&f);
		}
	}
}
END_TEST

/* The bounds in the table are the bounds that are kept. */
START_TEST(test_bounds_of_each_number)
{
	for (int set = 0; set < KEYS_SETS; set++) {
		const struct key *key = keys_of((enum key_set)set);

		for (; key->name != NULL; key++) {
			if (key->type != KEY_COUNT && key->type != KEY_SECONDS)
				continue;
			ck_assert_uint_lt(key->min, key->max);
			if (key->type == KEY_COUNT)
				ck_assert_ptr_nonnull(key->unit);
			/* 0: there is none, and the option is left out. */
			if (key->fallback == 0)
				continue;
			ck_assert_uint_ge(key->fallback, key->min);
			ck_assert_uint_le(key->fallback, key->max);
		}
	}
}
END_TEST

/* Reads one value of the table KEYS_WAL; whether it was taken. */
static bool
takes_read_count(const char *text)
{
	char yaml[64];
	struct config_pipeline pipeline = {0};
	struct faults faults;
	struct tree_node *root;
	bool is_good;

	(void)snprintf(yaml, sizeof(yaml), "read_count: %s\n", text);
	faults_init(&faults);
	root = tree_parse("x", (const uint8_t *)yaml, strlen(yaml), &faults);
	ck_assert_ptr_nonnull(root);
	is_good = keys_read(KEYS_WAL, root, "/", &pipeline, &faults);
	ck_assert_int_eq(is_good, faults.count == 0);
	ck_assert_int_eq(is_good, pipeline.read_count.is_given);
	if (!is_good)
		ck_assert_uint_eq(pipeline.read_count.number, 20);
	keys_fini(KEYS_WAL, &pipeline);
	tree_free(root);
	faults_fini(&faults);
	return is_good;
}

START_TEST(test_numbers)
{
	static const char *const good[] = {"1", "20", "1000000"};
	static const char *const bad[] = {"0", "1000001", "-1", "+1", "01",
	    "1.0", "1e3", "0x1", "1_000", "'1'", "~", "[]", "{}", "true",
	    "18446744073709551617"};

	for (size_t i = 0; i < COUNT(good); i++)
		ck_assert_msg(takes_read_count(good[i]), "%s", good[i]);
	for (size_t i = 0; i < COUNT(bad); i++)
		ck_assert_msg(!takes_read_count(bad[i]), "%s", bad[i]);
}
END_TEST

START_TEST(test_names)
{
	static const char *const bad[] = {
	    "", ".", "..", ".a", "a/b", "a b", "a\n", "\xc3\xa4", "a=b"};
	char longest[KEYS_NAME_BYTES + 1];

	memset(longest, 'x', sizeof(longest));
	ck_assert(keys_is_name("a", 1));
	ck_assert(keys_is_name("-", 1));
	ck_assert(keys_is_name("A.b_c-9.", 8));
	ck_assert(keys_is_name(longest, KEYS_NAME_BYTES));
	ck_assert(!keys_is_name(longest, KEYS_NAME_BYTES + 1));
	for (size_t i = 0; i < COUNT(bad); i++)
		ck_assert_msg(
		    !keys_is_name(bad[i], strlen(bad[i])), "%s", bad[i]);
}
END_TEST

START_TEST(test_urls)
{
	static const char *const good[] = {"ws://h", "ws://h/", "wss://h:443/p",
	    "ws://[::1]", "ws://[::1]:80/x", "ws://1.2.3.4?q", "ws://h/at@path",
	    "ws://[fe80::1%25eth0]:80/", "ws://a-b_c.d~e.:1/", "ws://h/?u=a@b"};
	static const char *const bad[] = {"", "h", "http://h/", "ws:/h",
	    "wsx://h/", "ws://", "ws:///", "ws://:80/", "ws://h:/", "ws://h:0/",
	    "ws://h:65536/", "ws://h:8x/", "ws://h:0000000080/", "ws://[]/",
	    "ws://[::1", "ws://[::1]x/", "ws://[::g]/", "ws://[fe80::1%]/",
	    "ws://[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000::1]/",
	    "ws://h%20h/", "ws://h!/", "ws://u@h/", "ws://u:p@h/", "ws://h/#f",
	    "ws://h/ x", "ws://h/\x01", "ws://h/\xc3\xa4"};
	const char *why;

	for (size_t i = 0; i < COUNT(good); i++)
		ck_assert_msg(url_check(good[i], &why), "%s", good[i]);
	for (size_t i = 0; i < COUNT(bad); i++) {
		why = NULL;
		ck_assert_msg(!url_check(bad[i], &why), "%s", bad[i]);
		ck_assert_ptr_nonnull(why);
	}
}
END_TEST

START_TEST(test_proxies)
{
	static const char *const good[] = {"h", "h:3128", "http://h:3128/",
	    "HTTPS://h", "socks5h://[::1]:1080", "socks://1.2.3.4"};
	static const char *const bad[] = {"", "ftp://h:1", "socks6://h", "://h",
	    "http://", "http://h:99999", "http://h:0", "h:x", "h%20h",
	    "http://h h", "http://u@h", "u:p@h", "[::1"};
	const char *why;

	for (size_t i = 0; i < COUNT(good); i++)
		ck_assert_msg(url_proxy_check(good[i], &why), "%s", good[i]);
	for (size_t i = 0; i < COUNT(bad); i++) {
		why = NULL;
		ck_assert_msg(!url_proxy_check(bad[i], &why), "%s", bad[i]);
		ck_assert_ptr_nonnull(why);
	}
}
END_TEST

START_TEST(test_placeholders)
{
	static const struct {
		const char *text;
		const char *unknown;
	} table[] = {
	    {"", NULL},
	    {"$ { } $x {y} $", NULL},
	    {"${hostname}${instance}${seq}${log_id}${ingest_ns}", NULL},
	    {"a ${env:HOME_2} b", NULL},
	    {"${}", "${}"},
	    {"a${Hostname}b", "${Hostname}"},
	    {"${hostname} ${x}", "${x}"},
	    {"${env:}", "${env:}"},
	    {"${env:a b}", "${env:a b}"},
	    {"${env", "${env"},
	    {"${", "${"},
	};

	for (size_t i = 0; i < COUNT(table); i++) {
		size_t n = 0;
		const char *at = patch_list_find_unknown(table[i].text, &n);

		if (table[i].unknown == NULL) {
			ck_assert_ptr_null(at);
			continue;
		}
		ck_assert_ptr_nonnull(at);
		ck_assert_uint_eq(n, strlen(table[i].unknown));
		ck_assert_mem_eq(at, table[i].unknown, n);
	}
}
END_TEST

START_TEST(test_quoting)
{
	static const struct {
		const char *argument;
		const char *line;
	} table[] = {
	    {"plain", "plain"},
	    {"a.b/c:d-e_f=g,h@i%j+k", "a.b/c:d-e_f=g,h@i%j+k"},
	    {"", "''"},
	    {"a b", "'a b'"},
	    {"it's", "'it'\\''s'"},
	    {"'", "''\\'''"},
	    {"$x `y` \"z\" \\", "'$x `y` \"z\" \\'"},
	    {"~", "'~'"},
	    {"*?[", "'*?['"},
	    {"a\nb\t'\\", "$'a\\nb\\t\\'\\\\'"},
	    {"\x1b\x7f", "$'\\033\\177'"},
	    {"\xc2\x85", "$'\\302\\205'"},
	    {"\xe2\x80\xa8", "$'\\342\\200\\250'"},
	    {"\xff", "$'\\377'"},
	    {"\xc2\xa0", "'\xc2\xa0'"},
	    {"#", "'#'"},
	    {"\xc3\xa4", "'\xc3\xa4'"},
	};

	for (size_t i = 0; i < COUNT(table); i++) {
		char argument[32];
		char *argv[] = {argument, argument, NULL};
		struct command command = {.argv = argv, .count = 2};
		char wanted[80], *line;

		(void)snprintf(
		    argument, sizeof(argument), "%s", table[i].argument);
		(void)snprintf(wanted, sizeof(wanted), "%s %s", table[i].line,
		    table[i].line);
		line = command_quote(&command);
		ck_assert_str_eq(line, wanted);
		free(line);
	}
}
END_TEST

/* The operations of insert, upsert and patch are one list, in that order. */
START_TEST(test_operations)
{
	static const struct {
		enum patch_list_how how;
		const char *key, *value;
	} table[] = {
	    {PATCH_LIST_INSERT, "a", "1"},
	    {PATCH_LIST_UPSERT, "b", "x y"},
	    {PATCH_LIST_ERASE, "c", NULL},
	    {PATCH_LIST_UPDATE, "a", "2"},
	    {PATCH_LIST_MERGE, "d", "{\"e\":null}"},
	    {PATCH_LIST_MERGE_EVENT, NULL, "{}"},
	};
	struct fixture f;
	const struct patch_list *list;

	open_text(&f, whole);
	list = &f.config.pipelines[0]->patch;
	ck_assert_uint_eq(list->count, COUNT(table));
	for (size_t i = 0; i < COUNT(table); i++) {
		ck_assert_int_eq(list->fields[i].how, table[i].how);
		ck_assert_pstr_eq(list->fields[i].key, table[i].key);
		ck_assert_pstr_eq(list->fields[i].value, table[i].value);
	}
	close_fixture(&f);
}
END_TEST

/* More faults than there is room for are counted. */
START_TEST(test_many_faults)
{
	char text[50 * 8] = "";
	struct fixture f;

	for (int i = 0; i < 50; i++)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text),
		    "k%d: 1\n", i);
	open_text(&f, text);
	ck_assert_uint_eq(f.faults.count, FAULTS_MAX);
	ck_assert_uint_eq(f.faults.more, 50 - FAULTS_MAX);
	ck_assert_int_eq(strncmp(f.faults.text[1], "c.yaml:2:1: ", 12), 0);
	close_fixture(&f);
}
END_TEST

/* A value left out has its default, at the place of its map. */
START_TEST(test_defaults)
{
	struct fixture f;

	open_text(&f, whole);
	ck_assert(!f.config.pipelines[0]->read_count.is_given);
	ck_assert_uint_eq(f.config.pipelines[0]->read_count.number, 20);
	ck_assert_str_eq(f.config.pipelines[0]->on_full.text, "pause");
	ck_assert_str_eq(f.config.offramps[0]->ack.text, "pong");
	ck_assert_uint_eq(f.config.offramps[0]->ping_interval.number, 10000);
	ck_assert_uint_eq(f.config.pipelines[0]->read_count.place.line, 5);
	close_fixture(&f);
}
END_TEST

START_TEST(test_tree)
{
	static const char yaml[] = "a: 'x'\nb: [1, ~]\n\"c\": {d: true}\n";
	struct faults faults;
	struct tree_node *root;
	const struct tree_node *b, *d;
	bool truth = false;

	faults_init(&faults);
	root =
	    tree_parse("f", (const uint8_t *)yaml, sizeof(yaml) - 1, &faults);
	ck_assert_ptr_nonnull(root);
	ck_assert_uint_eq(faults.count, 0);
	ck_assert_uint_eq(root->count, 3);
	ck_assert(tree_find(root, "a")->is_quoted);
	ck_assert_ptr_null(tree_find(root, "d"));
	b = tree_find(root, "b");
	ck_assert_int_eq(b->kind, TREE_LIST);
	ck_assert(tree_is_number(&b->items[0]));
	ck_assert(tree_is_null(&b->items[1]));
	ck_assert_uint_eq(b->items[1].place.line, 2);
	ck_assert_uint_eq(b->items[1].place.column, 8);
	d = tree_find(tree_find(root, "c"), "d");
	ck_assert(tree_is_bool(d, &truth) && truth);
	ck_assert_uint_eq(d->key_place.column, 7);
	tree_free(root);
	faults_fini(&faults);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("config");
	TCase *tests = tcase_create("config");

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, test_whole);
	tcase_add_test(tests, test_fan);
	tcase_add_test(tests, test_types_of_onramps);
	tcase_add_test(tests, test_cut_at_every_byte);
	tcase_add_test(tests, test_each_byte_replaced);
	tcase_add_test(tests, test_bounds_of_each_number);
	tcase_add_test(tests, test_numbers);
	tcase_add_test(tests, test_names);
	tcase_add_test(tests, test_urls);
	tcase_add_test(tests, test_proxies);
	tcase_add_test(tests, test_placeholders);
	tcase_add_test(tests, test_quoting);
	tcase_add_test(tests, test_operations);
	tcase_add_test(tests, test_many_faults);
	tcase_add_test(tests, test_defaults);
	tcase_add_test(tests, test_tree);
	tcase_set_timeout(tests, 600);
	return suite_run(suite);
}
