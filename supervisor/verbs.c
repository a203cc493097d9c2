#include "supervisor/verbs.h"

#include "stage/loop.h"
#include "supervisor/backlog.h"
#include "supervisor/client.h"
#include "supervisor/table.h"

#include <cjson/cJSON.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long all logs together are looked at. */
#define LOOK_NS (10 * LOOP_NS_PER_S)

/* Room for a path or a sentence, escaped. */
#define TEXT_BYTES 4096

/* What a command does with its answer, which is an object. */
typedef void take_fn(cJSON *answer, const struct verbs_options *options);

static const char *
text_of(const cJSON *object, const char *name)
{
	const char *text = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(object, name));

	return text == NULL ? "-" : text;
}

/* Returns the first item of an array that is a member, NULL if it is none. */
static cJSON *
first_of(const cJSON *object, const char *name)
{
	const cJSON *array = cJSON_GetObjectItemCaseSensitive(object, name);

	return cJSON_IsArray(array) ? array->child : NULL;
}

/* Prints a line on standard output, escaped. */
static void
say(const char *text)
{
	char printable[TEXT_BYTES];

	(void)puts(
	    log_printable(printable, sizeof(printable), text, strlen(text)));
}

static void
set_number(cJSON *object, const char *name, uint64_t number)
{
	cJSON *value = cJSON_CreateNumber((double)number);

	if (cJSON_GetObjectItemCaseSensitive(object, name) == NULL)
		(void)cJSON_AddItemToObject(object, name, value);
	else
		(void)cJSON_ReplaceItemInObjectCaseSensitive(
		    object, name, value);
}

/*
 * Looks into each log of the list whose member `name` is not known, and sets
 * that to the number of events stored, and `bytes` to their size if that is
 * wanted.
 */
static void
fill(cJSON *item, const char *name, bool wants_bytes,
    const struct verbs_options *options)
{
	int64_t deadline_ns = loop_now_ns() + LOOK_NS;

	for (; item != NULL; item = item->next) {
		const char *directory = cJSON_GetStringValue(
		    cJSON_GetObjectItemCaseSensitive(item, "directory"));
		struct backlog backlog;

		if (!cJSON_IsObject(item) || directory == NULL ||
		    cJSON_IsNumber(
			cJSON_GetObjectItemCaseSensitive(item, name)) ||
		    backlog_look(options->bin_dir, directory, deadline_ns,
			&backlog) == -1)
			continue;
		set_number(item, name, backlog.stored);
		if (wants_bytes)
			set_number(item, "bytes", backlog.bytes);
	}
}

static void
take_status(cJSON *answer, const struct verbs_options *options)
{
	char *text;

	fill(first_of(answer, "orphans"), "stored", true, options);
	if (options->is_json)
		return;
	text = table_put(answer, loop_realtime_ns());
	(void)fputs(text, stdout);
	free(text);
}

static void
say_left(const cJSON *item)
{
	const cJSON *left = cJSON_GetObjectItemCaseSensitive(item, "left");
	const char *instance = text_of(item, "instance");
	const char *pipeline = text_of(item, "pipeline");
	char text[TEXT_BYTES];

	if (!cJSON_IsNumber(left))
		(void)snprintf(text, sizeof(text),
		    "%s/%s: what is left in the log %s is not known", instance,
		    pipeline, text_of(item, "directory"));
	else if (left->valuedouble < 1)
		(void)snprintf(text, sizeof(text),
		    "%s/%s: nothing is left in the log", instance, pipeline);
	else
		(void)snprintf(text, sizeof(text),
		    "%s/%s: %.0f event%s left in the log %s", instance,
		    pipeline, left->valuedouble,
		    left->valuedouble < 2 ? " is" : "s are",
		    text_of(item, "directory"));
	say(text);
}

static void
take_stop(cJSON *answer, const struct verbs_options *options)
{
	cJSON *item = first_of(answer, "instances");

	fill(item, "left", false, options);
	if (options->is_json)
		return;
	for (; item != NULL; item = item->next)
		say_left(item);
	say("stopped");
}

static void
take_reload(cJSON *answer, const struct verbs_options *options)
{
	const cJSON *item = first_of(answer, "changes");

	if (options->is_json)
		return;
	if (item == NULL)
		say("nothing has changed");
	for (; item != NULL; item = item->next)
		say(cJSON_IsString(item) ? item->valuestring : "-");
}

static take_fn *const takers[] = {
    [REQUEST_STATUS] = take_status,
    [REQUEST_STOP] = take_stop,
    [REQUEST_RELOAD] = take_reload,
};
_Static_assert(
    sizeof(takers) / sizeof(takers[0]) == REQUEST_VERBS, "one is missing");

/* Logs why the supervisor refuses. Returns whether it does. */
static bool
is_refusal(const cJSON *answer, struct journal *journal)
{
	const cJSON *fault = first_of(answer, "faults");

	if (cJSON_GetObjectItemCaseSensitive(answer, "error") == NULL)
		return false;
	for (; fault != NULL; fault = fault->next)
		journal_say(journal, LOG_ERROR, "%s",
		    cJSON_IsString(fault) ? fault->valuestring : "-");
	journal_say(journal, LOG_ERROR, "the supervisor refuses: %s",
	    text_of(answer, "error"));
	return true;
}

/* Prints what the answer, one line, says. */
static enum exitcode
take(const char *line, enum request_verb verb,
    const struct verbs_options *options, struct journal *journal)
{
	cJSON *answer = cJSON_Parse(line);
	enum exitcode exitcode = EXITCODE_DONE;

	if (!cJSON_IsObject(answer)) {
		journal_say(
		    journal, LOG_ERROR, "the supervisor's answer is no JSON");
		exitcode = EXITCODE_AGAIN;
	} else if (is_refusal(answer, journal)) {
		exitcode = EXITCODE_FINAL;
	} else {
		takers[verb](answer, options);
	}
	if (exitcode == EXITCODE_DONE && options->is_json) {
		char *text = cJSON_PrintUnformatted(answer);

		(void)puts(text);
		free(text);
	}
	cJSON_Delete(answer);
	return exitcode;
}

/* Says that no supervisor runs. One that is to be stopped has stopped. */
static enum exitcode
tell_absent(enum request_verb verb, const struct verbs_options *options,
    struct journal *journal)
{
	char text[TEXT_BYTES];

	(void)snprintf(text, sizeof(text), "no supervisor runs with %s",
	    options->state_dir);
	if (verb != REQUEST_STOP) {
		journal_say(journal, LOG_ERROR, "%s", text);
		return EXITCODE_FINAL;
	}
	if (options->is_json)
		(void)puts("{\"stopped\":false,\"instances\":[]}");
	else
		say(text);
	return EXITCODE_DONE;
}

static enum exitcode
ask(enum request_verb verb, const struct verbs_options *options,
    struct journal *journal)
{
	enum exitcode exitcode;
	const char *why = NULL;
	char *line = NULL;

	switch (client_ask(options->state_dir, verb, &line, &why)) {
	case CLIENT_ANSWERED:
		exitcode = take(line, verb, options, journal);
		free(line);
		return exitcode;
	case CLIENT_ABSENT:
		return tell_absent(verb, options, journal);
	case CLIENT_DENIED:
		journal_say(journal, LOG_ERROR,
		    "%s: the supervisor cannot be asked: %m",
		    options->state_dir);
		return EXITCODE_FINAL;
	case CLIENT_FAILED:
		break;
	}
	journal_say(journal, LOG_ERROR, "%s: %s", options->state_dir, why);
	return EXITCODE_AGAIN;
}

enum exitcode
verbs_perform(enum request_verb verb, const struct verbs_options *options,
    struct journal *journal)
{
	enum exitcode exitcode = ask(verb, options, journal);

	if (exitcode == EXITCODE_DONE &&
	    (ferror(stdout) || fflush(stdout) == EOF)) {
		journal_say(journal, LOG_ERROR, "standard output: %m");
		exitcode = EXITCODE_AGAIN;
	}
	return exitcode;
}
