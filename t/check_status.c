/* The status of a supervisor as JSON, and the logs that nobody uses. */
#include "stage/mem.h"
#include "supervisor/orphans.h"
#include "supervisor/status.h"
#include "t/suite.h"

#include <check.h>
#include <cjson/cJSON.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))
/* 2026-01-31T12:00:00.123Z */
#define SINCE_NS INT64_C(1769860800123456789)

static const char source_report[] =
    "{\"events\":12,\"acked\":9,\"unacked\":3,\"breaker\":\"open\","
    "\"reader\":true,\"rate\":1.5}";
static const char wal_report[] =
    "{\"taken\":30,\"stored\":4,\"bytes\":500,\"delivered\":20,"
    "\"rejected\":1,\"dropped\":2,\"dead_lettered\":3,\"quarantined\":1,"
    "\"in_flight\":2,\"oldest_ms\":1234,\"source\":true,\"sink\":true,"
    "\"source_breaker\":\"open\",\"source_breaker_reason\":\"full\","
    "\"sink_breaker\":\"closed\",\"in_rate\":2.5,\"out_rate\":0.1}";
static const char sink_report[] =
    "{\"connection\":\"waiting\",\"connection_ms\":7,\"url\":\"ws://h:1/\","
    "\"why\":\"refused\",\"confirmed\":20,\"rejected\":1,\"unconfirmed\":2,"
    "\"connects\":1,\"rate\":0.1}";

/* An instance with the reports given, each NULL where there is none. */
static cJSON *
put(const char *source, const char *wal, const char *sink, char **text)
{
	cJSON *reports[] = {source == NULL ? NULL : cJSON_Parse(source),
	    wal == NULL ? NULL : cJSON_Parse(wal),
	    sink == NULL ? NULL : cJSON_Parse(sink)};
	struct status_stage stages[] = {
	    {.kind = STAGE_SOURCE,
		.id = "m",
		.program = "metronome",
		.state = "running"},
	    {STAGE_WAL, false, "p", "walproc", 812, "running", SINCE_NS, 2,
		"exit status 111", reports[1]},
	    {STAGE_SINK, false, "w", "wssink", 813, "starting", SINCE_NS, 0,
		NULL, reports[2]},
	};
	struct status_instance instance = {.instance = "01",
	    .pipeline = "p",
	    .binding = "b",
	    .state = "running",
	    .directory = "/s/01/p",
	    .stages = stages,
	    .stage_count = COUNT(stages)};
	struct status status = {.pid = 811,
	    .state = "running",
	    .state_dir = "/s\n\xff",
	    .since_ns = SINCE_NS,
	    .instances = &instance,
	    .instance_count = 1};
	cJSON *json;

	stages[0].report = reports[0];
	*text = status_put(&status);
	json = cJSON_Parse(*text);
	ck_assert_ptr_nonnull(json);
	for (size_t i = 0; i < COUNT(reports); i++)
		cJSON_Delete(reports[i]);
	return json;
}

/* Returns a part of the only instance as text; the caller frees it. */
static char *
part(const cJSON *json, const char *name)
{
	const cJSON *list = cJSON_GetObjectItemCaseSensitive(json, "instances");

	ck_assert_int_eq(cJSON_GetArraySize(list), 1);
	return cJSON_PrintUnformatted(
	    cJSON_GetObjectItemCaseSensitive(list->child, name));
}

static void
must_be(const cJSON *json, const char *name, const char *wanted)
{
	char *text = part(json, name);

	ck_assert_str_eq(text, wanted);
	free(text);
}

START_TEST(test_whole)
{
	char *text;
	cJSON *json = put(source_report, wal_report, sink_report, &text);
	char *own;

	ck_assert_ptr_null(strchr(text, '\n'));
	own = cJSON_PrintUnformatted(
	    cJSON_GetObjectItemCaseSensitive(json, "supervisor"));
	ck_assert_str_eq(own,
	    "{\"pid\":811,\"version\":\"" WALPIPE_VERSION
	    "\",\"state\":\"running\",\"state_dir\":\"/s\\\\x0a\\\\xff\","
	    "\"since\":\"2026-01-31T12:00:00.123Z\"}");
	must_be(json, "instance", "\"01\"");
	must_be(json, "pipeline", "\"p\"");
	must_be(json, "binding", "\"b\"");
	must_be(json, "state", "\"running\"");
	must_be(json, "directory", "\"/s/01/p\"");
	must_be(json, "flow",
	    "{\"in\":30,\"stored\":4,\"bytes\":500,\"acked\":20,"
	    "\"in_flight\":2,\"rejected\":1,\"dropped\":2,"
	    "\"dead_lettered\":3,\"quarantined\":1,"
	    "\"oldest_unacked_ms\":1234,\"source_breaker\":\"open\","
	    "\"source_breaker_reason\":\"full\","
	    "\"sink_breaker\":\"closed\",\"connection\":\"waiting\","
	    "\"connection_why\":\"refused\",\"in_rate\":2.5,"
	    "\"out_rate\":0.1,\"unstored\":3,\"sources\":[{\"name\":"
	    "\"m\",\"present\":null,\"taken\":null,\"unstored\":3}],"
	    "\"sinks\":[{\"name\":\"w\",\"connection\":\"waiting\","
	    "\"connection_why\":\"refused\",\"present\":null,"
	    "\"breaker\":null,\"delivered\":null,\"stored\":null,"
	    "\"in_flight\":null,\"rejected\":null,\"dropped\":null,"
	    "\"quarantined\":null,\"out_rate\":null}]}");
	ck_assert_int_eq(cJSON_GetArraySize(
			     cJSON_GetObjectItemCaseSensitive(json, "orphans")),
	    0);
	free(own);
	free(text);
	cJSON_Delete(json);
}
END_TEST

/* Reports stand in it as they came; what is not there is null. */
START_TEST(test_stages)
{
	char *text, wanted[2048];
	cJSON *json = put(NULL, wal_report, "{}", &text);

	(void)snprintf(wanted, sizeof(wanted),
	    "[{\"stage\":\"m\",\"program\":\"metronome\",\"pid\":null,"
	    "\"state\":\"running\",\"since\":\"1970-01-01T00:00:00.000Z\","
	    "\"restarts\":0,\"last_exit\":null,\"report\":null},"
	    "{\"stage\":\"p\",\"program\":\"walproc\",\"pid\":812,"
	    "\"state\":\"running\",\"since\":\"2026-01-31T12:00:00.123Z\","
	    "\"restarts\":2,\"last_exit\":\"exit status 111\",\"report\":%s},"
	    "{\"stage\":\"w\",\"program\":\"wssink\",\"pid\":813,"
	    "\"state\":\"starting\",\"since\":\"2026-01-31T12:00:00.123Z\","
	    "\"restarts\":0,\"last_exit\":null,\"report\":{}}]",
	    wal_report);
	must_be(json, "stages", wanted);
	free(text);
	cJSON_Delete(json);
}
END_TEST

START_TEST(test_flow_without_reports)
{
	static const char nothing[] =
	    "{\"in\":null,\"stored\":null,\"bytes\":null,\"acked\":null,"
	    "\"in_flight\":null,\"rejected\":null,\"dropped\":null,"
	    "\"dead_lettered\":null,\"quarantined\":null,"
	    "\"oldest_unacked_ms\":null,\"source_breaker\":null,"
	    "\"source_breaker_reason\":null,\"sink_breaker\":null,"
	    "\"connection\":null,\"connection_why\":null,\"in_rate\":null,"
	    "\"out_rate\":null,\"unstored\":null,\"sources\":[{\"name\":"
	    "\"m\",\"present\":null,\"taken\":null,\"unstored\":null}],"
	    "\"sinks\":[{\"name\":\"w\",\"connection\":null,"
	    "\"connection_why\":null,\"present\":null,\"breaker\":null,"
	    "\"delivered\":null,\"stored\":null,\"in_flight\":null,"
	    "\"rejected\":null,\"dropped\":null,\"quarantined\":null,"
	    "\"out_rate\":null}]}";
	char *text;
	cJSON *json = put(NULL, NULL, NULL, &text);

	must_be(json, "flow", nothing);
	free(text);
	cJSON_Delete(json);
	json = put("{}", "{}", "{}", &text);
	must_be(json, "flow", nothing);
	free(text);
	cJSON_Delete(json);
}
END_TEST

/* An onramp is a source too; a command before it tells nothing. */
START_TEST(test_flow_of_an_onramp)
{
	cJSON *report = cJSON_Parse("{\"unacked\":7}"), *json;
	struct status_stage stages[] = {
	    {STAGE_COMMAND, .id = "o", .program = "tail", .state = "running"},
	    {STAGE_SOURCE, .id = "o", .program = "onramp", .state = "running"},
	};
	struct status_instance instance = {.instance = "01",
	    .pipeline = "p",
	    .binding = "b",
	    .state = "running",
	    .directory = "/s/01/p",
	    .stages = stages,
	    .stage_count = COUNT(stages)};
	struct status status = {.state = "running",
	    .state_dir = "/s",
	    .instances = &instance,
	    .instance_count = 1};
	char *text, *flow;

	stages[0].report = stages[1].report = report;
	text = status_put(&status);
	json = cJSON_Parse(text);
	flow = part(json, "flow");
	ck_assert_ptr_nonnull(strstr(flow, "\"unstored\":7,"));
	free(flow);
	free(text);
	cJSON_Delete(json);
	cJSON_Delete(report);
}
END_TEST

/* Of several each is told on its own, and the sum of them: the connection is
 * the worst, what the sources hold is added up. What is removed is none. */
START_TEST(test_flow_of_several)
{
	static const char *const reports[] = {
	    "{\"unacked\":2}",
	    "{\"unacked\":3}",
	    "{\"sources\":[{\"name\":\"b\",\"present\":true,\"taken\":8}],"
	    "\"sinks\":[{\"name\":\"gone\",\"stored\":1},{\"name\":\"a\","
	    "\"present\":true,\"breaker\":\"open\",\"delivered\":4,"
	    "\"stored\":5,\"in_flight\":6,\"rejected\":7,\"dropped\":8,"
	    "\"quarantined\":9,\"out_rate\":1.5}]}",
	    "{\"connection\":\"connecting\",\"why\":\"y\"}",
	    "{\"connection\":\"open\"}",
	    "{\"connection\":\"waiting\",\"why\":\"z\"}",
	};
	static const char *const wanted[] = {
	    "\"connection\":\"connecting\",\"connection_why\":\"y\"",
	    "\"unstored\":5,\"sources\":[{\"name\":\"a\",\"present\":null,"
	    "\"taken\":null,\"unstored\":2},{\"name\":\"b\",\"present\":"
	    "true,\"taken\":8,\"unstored\":3}],\"sinks\":[{\"name\":\"a\","
	    "\"connection\":\"connecting\",\"connection_why\":\"y\","
	    "\"present\":true,\"breaker\":\"open\",\"delivered\":4,"
	    "\"stored\":5,\"in_flight\":6,\"rejected\":7,\"dropped\":8,"
	    "\"quarantined\":9,\"out_rate\":1.5},{\"name\":\"w\","
	    "\"connection\":\"open\",\"connection_why\":null,",
	};
	struct status_stage stages[] = {
	    {STAGE_SOURCE, .id = "a", .program = "metronome", .state = "ready"},
	    {STAGE_SOURCE, .id = "b", .program = "metronome", .state = "ready"},
	    {STAGE_WAL, .id = "a", .program = "walproc", .state = "ready"},
	    {STAGE_SINK, .id = "a", .program = "wssink", .state = "ready"},
	    {STAGE_SINK, .id = "w", .program = "wssink", .state = "ready"},
	    {STAGE_SINK, true, .id = "gone", .program = "wssink",
		.state = "ending"},
	};
	struct status_instance instance = {.instance = "01",
	    .pipeline = "p",
	    .binding = "b",
	    .state = "running",
	    .directory = "/s/01/p",
	    .stages = stages,
	    .stage_count = COUNT(stages)};
	struct status status = {.state = "running",
	    .state_dir = "/s",
	    .instances = &instance,
	    .instance_count = 1};
	cJSON *parsed[COUNT(reports)], *json;
	char *text, *flow;

	for (size_t i = 0; i < COUNT(reports); i++)
		stages[i].report = parsed[i] = cJSON_Parse(reports[i]);
	text = status_put(&status);
	json = cJSON_Parse(text);
	flow = part(json, "flow");
	for (size_t i = 0; i < COUNT(wanted); i++)
		ck_assert_msg(
		    strstr(flow, wanted[i]) != NULL, "%zu: %s", i, flow);
	ck_assert_ptr_null(strstr(flow, "gone"));
	ck_assert_ptr_nonnull(strstr(text, "\"ending\""));
	for (size_t i = 0; i < COUNT(reports); i++)
		cJSON_Delete(parsed[i]);
	free(flow);
	free(text);
	cJSON_Delete(json);
}
END_TEST

static char dir[] = "/tmp/check_status.XXXXXX";

/* Makes a directory, or a file, in the state directory. */
static void
make(int dir_fd, const char *name, bool is_file)
{
	int fd;

	if (!is_file) {
		ck_assert_int_eq(mkdirat(dir_fd, name, 0700), 0);
		return;
	}
	fd = openat(dir_fd, name, O_CREAT | O_WRONLY, 0600);
	ck_assert_int_ne(fd, -1);
	(void)close(fd);
}

static bool
is_used(const char *instance, const char *pipeline, const void *context)
{
	ck_assert_ptr_eq(context, dir);
	return strcmp(instance, "01") == 0 && strcmp(pipeline, "p") == 0;
}

START_TEST(test_orphans)
{
	static const struct {
		const char *name;
		bool is_file;
	} table[] = {
	    {"LOCK", true},
	    {"01", false},
	    {"01/p", false},
	    {"01/p/cursor", true},
	    {"01/q", false},
	    {"01/q/00000000000000000001.seg", true},
	    {"01/new", false},
	    {"01/new/LOCK", true},
	    {"01/cursor", true},
	    {"02", false},
	    {"02/p", false},
	    {"02/p/cursor", true},
	    {"02/odd name", false},
	    {"02/odd name/cursor", true},
	    {".hidden", false},
	    {".hidden/p", false},
	    {".hidden/p/cursor", true},
	    {"00", false},
	    {"00/z", false},
	    {"00/z/cursor", true},
	};
	static const char *const wanted[] = {"00/z", "01/q", "02/p"};
	struct status status = {.state = "running", .state_dir = "/s"};
	struct orphans orphans;
	char *text;
	int dir_fd;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY);
	for (size_t i = 0; i < COUNT(table); i++)
		make(dir_fd, table[i].name, table[i].is_file);
	orphans_find(&orphans, dir_fd, "/s", is_used, dir);
	ck_assert_uint_eq(orphans.count, COUNT(wanted));
	for (size_t i = 0; i < orphans.count; i++) {
		const struct orphan *found = &orphans.list[i];
		char name[64];

		(void)snprintf(name, sizeof(name), "%s/%s", found->instance,
		    found->pipeline);
		ck_assert_str_eq(name, wanted[i]);
		ck_assert_mem_eq(found->directory, "/s/", 3);
		ck_assert_str_eq(found->directory + 3, wanted[i]);
	}
	status.orphans = &orphans;
	text = status_put(&status);
	ck_assert_ptr_nonnull(strstr(text,
	    "\"instances\":[],\"orphans\":[{\"directory\":\"/s/00/z\","
	    "\"instance\":\"00\",\"pipeline\":\"z\",\"stored\":null,"
	    "\"bytes\":null},"));
	free(text);
	orphans_fini(&orphans);
	orphans_fini(&orphans);
	for (size_t i = COUNT(table); i-- > 0;)
		(void)unlinkat(
		    dir_fd, table[i].name, table[i].is_file ? 0 : AT_REMOVEDIR);
	(void)close(dir_fd);
	ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("status");
	TCase *tests = tcase_create("status");

	mem_init();
	suite_add_tcase(suite, tests);
	tcase_add_test(tests, test_whole);
	tcase_add_test(tests, test_stages);
	tcase_add_test(tests, test_flow_without_reports);
	tcase_add_test(tests, test_flow_of_an_onramp);
	tcase_add_test(tests, test_flow_of_several);
	tcase_add_test(tests, test_orphans);
	return suite_run(suite);
}
