#include "supervisor/table.h"

#include "stage/buf.h"
#include "stage/log.h"
#include "stage/loop.h"
#include "stage/mem.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WIDTH 80
/* Where a line goes on that was too long. */
#define INDENT 6
/* The column of the ids; a longer one moves what follows. */
#define ID_WIDTH 16
/* Room for a text of the status that is a word, or a sentence. */
#define WORD_BYTES 64
#define TEXT_BYTES 512
/* No number of ours is as large. */
#define NUMBER_MAX 1e18

/* The text, and how far its last line has come. */
struct page {
	struct buf out;
	size_t column;
	bool is_begun; /* more than an indent stands in the line */
	int64_t now_ns;
};

static void put(struct page *page, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Appends to the line. */
static void
put(struct page *page, const char *format, ...)
{
	char text[2 * TEXT_BYTES];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (n < 0)
		return;
	if ((size_t)n >= sizeof(text))
		n = sizeof(text) - 1;
	(void)buf_append(&page->out, text, (size_t)n);
	page->column += (size_t)n;
	page->is_begun = true;
}

static void
end_line(struct page *page)
{
	(void)buf_append(&page->out, "\n", 1);
	page->column = 0;
	page->is_begun = false;
}

static void
indent(struct page *page)
{
	put(page, "%*s", INDENT, "");
	page->is_begun = false;
}

static void put_item(struct page *page, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Appends an item of a list, on a new line where this one is full. */
static void
put_item(struct page *page, const char *format, ...)
{
	char text[2 * TEXT_BYTES];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (page->is_begun && page->column + 2 + strlen(text) > WIDTH) {
		end_line(page);
		indent(page);
	}
	if (page->is_begun)
		put(page, "  ");
	put(page, "%s", text);
}

static const cJSON *
member(const cJSON *object, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(object, name);
}

/* Writes a text of the status to `out`, escaped, "-" where there is none. */
static const char *
text_of(const cJSON *object, const char *name, char *out, size_t out_bytes)
{
	const char *text = cJSON_GetStringValue(member(object, name));

	if (text == NULL || text[0] == '\0')
		text = "-";
	return log_printable(out, out_bytes, text, strlen(text));
}

/* Returns the first item of an array, NULL if it is none. */
static const cJSON *
first_of(const cJSON *object, const char *name)
{
	const cJSON *array = member(object, name);

	return cJSON_IsArray(array) ? array->child : NULL;
}

static bool
has_text(const cJSON *object, const char *name)
{
	return cJSON_GetStringValue(member(object, name)) != NULL;
}

/* Reads a number from 0 on. Returns whether there is one. */
static bool
number_of(const cJSON *object, const char *name, double *number)
{
	const cJSON *value = member(object, name);

	if (!cJSON_IsNumber(value) || !(value->valuedouble >= 0) ||
	    value->valuedouble > NUMBER_MAX)
		return false;
	*number = value->valuedouble;
	return true;
}

/* Writes a count to `out`, "-" where there is none. */
static const char *
count_of(const cJSON *object, const char *name, char out[WORD_BYTES])
{
	double number;

	if (number_of(object, name, &number))
		(void)snprintf(out, WORD_BYTES, "%" PRIu64, (uint64_t)number);
	else
		(void)snprintf(out, WORD_BYTES, "-");
	return out;
}

/* Writes a size to `out` in the unit that fits, "-" where there is none. */
static const char *
size_of(const cJSON *object, const char *name, char out[WORD_BYTES])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	size_t unit = 0;
	double number;

	if (!number_of(object, name, &number)) {
		(void)snprintf(out, WORD_BYTES, "-");
		return out;
	}
	while (number >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		number /= 1024;
		unit++;
	}
	(void)snprintf(
	    out, WORD_BYTES, "%.*f %s", unit == 0 ? 0 : 1, number, units[unit]);
	return out;
}

/* Writes a span of time to `out` in its two largest units. */
static const char *
span(int64_t seconds, char out[WORD_BYTES])
{
	static const struct {
		int64_t seconds;
		const char *unit, *rest_unit;
		int64_t rest_seconds;
	} table[] = {
	    {86400, "d", "h", 3600},
	    {3600, "h", "m", 60},
	    {60, "m", "s", 1},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (seconds < table[i].seconds)
			continue;
		(void)snprintf(out, WORD_BYTES, "%lld%s%lld%s",
		    (long long)(seconds / table[i].seconds), table[i].unit,
		    (long long)(seconds % table[i].seconds /
				table[i].rest_seconds),
		    table[i].rest_unit);
		return out;
	}
	(void)snprintf(out, WORD_BYTES, "%llds", (long long)seconds);
	return out;
}

/* Writes how long ago a time of the status was, "-" where there is none. */
static const char *
age_of(
    const cJSON *object, const char *name, int64_t now_ns, char out[WORD_BYTES])
{
	const char *text = cJSON_GetStringValue(member(object, name));
	struct tm tm = {0};
	int64_t seconds;

	(void)snprintf(out, WORD_BYTES, "-");
	if (text == NULL || strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) == NULL)
		return out;
	seconds = now_ns / LOOP_NS_PER_S - (int64_t)timegm(&tm);
	/* The clock was set back meanwhile. */
	return span(seconds < 0 ? 0 : seconds, out);
}

static void
put_supervisor(struct page *page, const cJSON *own)
{
	char pid[WORD_BYTES], version[WORD_BYTES], state[WORD_BYTES];
	char age[WORD_BYTES], directory[TEXT_BYTES];

	put_item(page, "supervisor %s (%s)", count_of(own, "pid", pid),
	    text_of(own, "version", version, sizeof(version)));
	put_item(page, "%s", text_of(own, "state", state, sizeof(state)));
	put_item(
	    page, "started %s ago", age_of(own, "since", page->now_ns, age));
	put_item(page, "state in %s",
	    text_of(own, "state_dir", directory, sizeof(directory)));
	end_line(page);
}

static void
put_stage(struct page *page, const cJSON *stage, int id_width)
{
	char id[TEXT_BYTES], program[TEXT_BYTES], pid[WORD_BYTES];
	char state[WORD_BYTES], age[WORD_BYTES], count[WORD_BYTES];
	char last[TEXT_BYTES];
	double restarts = 0;

	put(page, "  %-*s  %-9s %7s  %-8s  %s ago", id_width,
	    text_of(stage, "stage", id, sizeof(id)),
	    text_of(stage, "program", program, sizeof(program)),
	    count_of(stage, "pid", pid),
	    text_of(stage, "state", state, sizeof(state)),
	    age_of(stage, "since", page->now_ns, age));
	if (number_of(stage, "restarts", &restarts) && restarts >= 1)
		put_item(page, "%s restart%s",
		    count_of(stage, "restarts", count),
		    restarts < 2 ? "" : "s");
	if (has_text(stage, "last_exit"))
		put_item(page, "last: %s",
		    text_of(stage, "last_exit", last, sizeof(last)));
	end_line(page);
}

/* Returns how wide the column of the ids is. */
static int
width_of_ids(const cJSON *stage)
{
	char id[TEXT_BYTES];
	size_t width = 0;

	for (; stage != NULL; stage = stage->next) {
		size_t n = strlen(text_of(stage, "stage", id, sizeof(id)));

		width = n > width ? n : width;
	}
	return width > ID_WIDTH ? ID_WIDTH : (int)width;
}

/* Puts a count, and its rate behind it. */
static void
put_rated(struct page *page, const char *what, const cJSON *flow,
    const char *name, const char *rate_name)
{
	char count[WORD_BYTES];
	double rate;

	if (number_of(flow, rate_name, &rate))
		put_item(page, "%s %s (%.1f/s)", what,
		    count_of(flow, name, count), rate);
	else
		put_item(page, "%s %s", what, count_of(flow, name, count));
}

static void
put_breaker(struct page *page, const cJSON *flow, const char *what,
    const char *name, const char *reason_name)
{
	char state[WORD_BYTES], reason[TEXT_BYTES];

	(void)text_of(flow, name, state, sizeof(state));
	if (has_text(flow, reason_name))
		put_item(page, "%s breaker %s: %s", what, state,
		    text_of(flow, reason_name, reason, sizeof(reason)));
	else
		put_item(page, "%s breaker %s", what, state);
}

/* Puts what is told only if it happened at all. */
static void
put_troubles(struct page *page, const cJSON *flow)
{
	static const struct {
		const char *what, *name;
	} table[] = {
	    {"not stored yet", "unstored"},
	    {"rejected", "rejected"},
	    {"dropped", "dropped"},
	    {"dead letters", "dead_lettered"},
	    {"quarantined", "quarantined"},
	};
	char count[WORD_BYTES];
	double number;

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (number_of(flow, table[i].name, &number) && number >= 1)
			put_item(page, "%s %s", table[i].what,
			    count_of(flow, table[i].name, count));
}

/* Puts how a connection stands, and why it is not open. */
static void
put_connection(struct page *page, const cJSON *of, bool has_why)
{
	char text[WORD_BYTES], why[TEXT_BYTES];

	put_item(page, "connection %s",
	    text_of(of, "connection", text, sizeof(text)));
	if (has_why && has_text(of, "connection_why") &&
	    strcmp(text, "open") != 0)
		put_item(page, "because: %s",
		    text_of(of, "connection_why", why, sizeof(why)));
}

/* Begins the line of one of several sources or sinks. */
static void
begin_part(struct page *page, const char *what, const cJSON *part)
{
	char name[TEXT_BYTES];

	indent(page);
	put_item(
	    page, "%s %s:", what, text_of(part, "name", name, sizeof(name)));
}

static void
put_source(struct page *page, const cJSON *source)
{
	char count[WORD_BYTES];

	begin_part(page, "source", source);
	put_item(page, "in %s", count_of(source, "taken", count));
	put_troubles(page, source);
	end_line(page);
}

static void
put_sink(struct page *page, const cJSON *sink)
{
	char count[WORD_BYTES];

	begin_part(page, "sink", sink);
	put_item(page, "stored %s", count_of(sink, "stored", count));
	put_item(page, "in flight %s", count_of(sink, "in_flight", count));
	put_rated(page, "acked", sink, "delivered", "out_rate");
	put_troubles(page, sink);
	put_item(
	    page, "breaker %s", text_of(sink, "breaker", count, sizeof(count)));
	put_connection(page, sink, true);
	end_line(page);
}

/* Says whether there is more than one of a list of the flow. */
static bool
has_several(const cJSON *flow, const char *name)
{
	const cJSON *first = first_of(flow, name);

	return first != NULL && first->next != NULL;
}

/* Puts a line for each of several sources, and of several sinks. */
static void
put_parts(struct page *page, const cJSON *flow)
{
	const cJSON *part;

	if (has_several(flow, "sources"))
		for (part = first_of(flow, "sources"); part != NULL;
		     part = part->next)
			put_source(page, part);
	if (has_several(flow, "sinks"))
		for (part = first_of(flow, "sinks"); part != NULL;
		     part = part->next)
			put_sink(page, part);
}

static void
put_flow(struct page *page, const cJSON *flow)
{
	char text[TEXT_BYTES], count[WORD_BYTES];
	char size[WORD_BYTES];
	double number;

	indent(page);
	put_rated(page, "in", flow, "in", "in_rate");
	(void)count_of(flow, "stored", count);
	if (number_of(flow, "bytes", &number))
		put_item(page, "stored %s (%s)", count,
		    size_of(flow, "bytes", size));
	else
		put_item(page, "stored %s", count);
	if (number_of(flow, "oldest_unacked_ms", &number))
		put_item(
		    page, "oldest %s", span((int64_t)(number / 1000), text));
	put_item(page, "in flight %s", count_of(flow, "in_flight", count));
	put_rated(page, "acked", flow, "acked", "out_rate");
	put_troubles(page, flow);
	end_line(page);
	indent(page);
	put_breaker(
	    page, flow, "source", "source_breaker", "source_breaker_reason");
	put_breaker(page, flow, "sink", "sink_breaker", "");
	/* Of several sinks each says why. */
	put_connection(page, flow, !has_several(flow, "sinks"));
	end_line(page);
	put_parts(page, flow);
}

static void
put_instance(struct page *page, const cJSON *instance)
{
	const cJSON *stage = first_of(instance, "stages");
	char name[TEXT_BYTES], pipeline[TEXT_BYTES], binding[TEXT_BYTES];
	char state[WORD_BYTES];
	int width = width_of_ids(stage);

	end_line(page);
	put(page, "instance %s: %s  (pipeline %s, binding %s)",
	    text_of(instance, "instance", name, sizeof(name)),
	    text_of(instance, "state", state, sizeof(state)),
	    text_of(instance, "pipeline", pipeline, sizeof(pipeline)),
	    text_of(instance, "binding", binding, sizeof(binding)));
	end_line(page);
	for (; stage != NULL; stage = stage->next)
		put_stage(page, stage, width);
	put_flow(page, member(instance, "flow"));
}

static void
put_orphan(struct page *page, const cJSON *orphan)
{
	char instance[TEXT_BYTES], pipeline[TEXT_BYTES], text[TEXT_BYTES];
	char count[WORD_BYTES], size[WORD_BYTES];
	double stored;

	put(page, "  %s/%s",
	    text_of(orphan, "instance", instance, sizeof(instance)),
	    text_of(orphan, "pipeline", pipeline, sizeof(pipeline)));
	if (!number_of(orphan, "stored", &stored))
		put_item(page, "what it stores is not known");
	else if (stored < 1)
		put_item(page, "nothing stored");
	else
		put_item(page, "%s stored (%s)",
		    count_of(orphan, "stored", count),
		    size_of(orphan, "bytes", size));
	put_item(page, "%s", text_of(orphan, "directory", text, sizeof(text)));
	end_line(page);
}

char *
table_put(const cJSON *status, int64_t now_ns)
{
	const cJSON *instance = first_of(status, "instances");
	const cJSON *orphan = first_of(status, "orphans");
	struct page page = {.now_ns = now_ns};
	char *text;

	buf_init(&page.out, SIZE_MAX / 4);
	put_supervisor(&page, member(status, "supervisor"));
	for (; instance != NULL; instance = instance->next)
		put_instance(&page, instance);
	if (orphan != NULL) {
		end_line(&page);
		put(&page, "logs that no instance uses any more:");
		end_line(&page);
	}
	for (; orphan != NULL; orphan = orphan->next)
		put_orphan(&page, orphan);
	text = mem_strndup(
	    (const char *)buf_front(&page.out), buf_bytes(&page.out));
	buf_fini(&page.out);
	return text;
}
