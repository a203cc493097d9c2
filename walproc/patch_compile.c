#include "walproc/patch_compile.h"

#include "stage/json.h"
#include "stage/log.h"
#include "stage/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX_BYTES ((size_t)1 << 20)
#define PLACEHOLDER_MAX_BYTES 256

void
patch_compile_fini(struct operation *operation)
{
	free(operation->key);
	for (size_t i = 0; i < operation->count; i++)
		buf_fini(&operation->parts[i].text);
	free(operation->parts);
	for (size_t i = 0; i < operation->inner_count; i++)
		patch_compile_fini(&operation->inner[i]);
	free(operation->inner);
}

static struct part *
add_part(struct operation *operation, enum part_kind kind)
{
	struct part *part;

	operation->parts = mem_realloc(
	    operation->parts, operation->count + 1, sizeof(*operation->parts));
	part = &operation->parts[operation->count++];
	part->kind = kind;
	buf_init(&part->text, 16 * TEXT_MAX_BYTES);
	return part;
}

/* Adds text, escaped for the inside of a string if asked. */
static void
add_text(
    struct operation *operation, const char *text, size_t bytes, bool escape)
{
	struct part *part = NULL;
	uint8_t *to;

	if (bytes == 0)
		return;
	if (operation->count > 0)
		part = &operation->parts[operation->count - 1];
	if (part == NULL || part->kind != PART_TEXT)
		part = add_part(operation, PART_TEXT);
	to = buf_reserve(&part->text, (escape ? 6 : 1) * bytes);
	if (to == NULL)
		operation->is_too_long = true;
	else if (escape)
		buf_commit(&part->text, json_escape(to, text, bytes));
	else
		(void)buf_append(&part->text, text, bytes);
}

/* Adds what `${name}` stands for. */
static int
add_placeholder(const struct patch_names *names, struct operation *operation,
    const char *name, char *why, size_t why_bytes)
{
	static const char env[] = "env:";
	const char *text = NULL;

	if (strcmp(name, "seq") == 0) {
		(void)add_part(operation, PART_SEQ);
		return 0;
	}
	if (strcmp(name, "ingest_ns") == 0) {
		(void)add_part(operation, PART_INGEST_NS);
		return 0;
	}
	if (strcmp(name, "log_id") == 0) {
		(void)add_part(operation, PART_LOG_ID);
		return 0;
	}
	if (strcmp(name, "hostname") == 0)
		text = names->hostname;
	if (strcmp(name, "instance") == 0)
		text = names->instance;
	if (strncmp(name, env, sizeof(env) - 1) == 0) {
		text = getenv(name + sizeof(env) - 1);
		if (text == NULL || !json_is_utf8(text, strlen(text)) ||
		    strlen(text) > TEXT_MAX_BYTES) {
			(void)snprintf(why, why_bytes,
			    "the environment variable %s is %s",
			    name + sizeof(env) - 1,
			    text == NULL ? "not set" : "not valid UTF-8");
			return -1;
		}
	}
	if (text == NULL) {
		(void)snprintf(
		    why, why_bytes, "unknown placeholder ${%s}", name);
		return -1;
	}
	add_text(operation, text, strlen(text), true);
	return 0;
}

/* Adds a value, its placeholders resolved; `escape` as in add_text. */
static int
add_value(const struct patch_names *names, struct operation *operation,
    const char *value, bool escape, char *why, size_t why_bytes)
{
	char name[PLACEHOLDER_MAX_BYTES];

	for (;;) {
		const char *open = strstr(value, "${");
		const char *close = open == NULL ? NULL : strchr(open, '}');
		size_t n;

		if (open == NULL) {
			add_text(operation, value, strlen(value), escape);
			return 0;
		}
		if (close == NULL) {
			(void)snprintf(
			    why, why_bytes, "placeholder without its }");
			return -1;
		}
		n = (size_t)(close - open - 2);
		if (n >= sizeof(name)) {
			(void)snprintf(why, why_bytes, "placeholder too long");
			return -1;
		}
		memcpy(name, open + 2, n);
		name[n] = '\0';
		add_text(operation, value, (size_t)(open - value), escape);
		if (add_placeholder(names, operation, name, why, why_bytes) ==
		    -1)
			return -1;
		value = close + 1;
	}
}

static int
compile_value(const struct patch_names *names, struct operation *operation,
    const char *value, char *why, size_t why_bytes)
{
	const char *ignored;
	size_t at;
	int result;

	if (json_check((const uint8_t *)value, strlen(value), &ignored, &at))
		return add_value(
		    names, operation, value, false, why, why_bytes);
	/* Alone, these are numbers. */
	if (strcmp(value, "${seq}") == 0 || strcmp(value, "${ingest_ns}") == 0)
		return add_value(
		    names, operation, value, false, why, why_bytes);
	add_text(operation, "\"", 1, false);
	result = add_value(names, operation, value, true, why, why_bytes);
	add_text(operation, "\"", 1, false);
	return result;
}

/* Sets the key, and adds what stands before the value. */
static void
compile_key(struct operation *operation, const char *key, size_t bytes)
{
	operation->key = (uint8_t *)mem_strndup(key, bytes);
	operation->key_bytes = bytes;
	operation->key_has_backslash = memchr(key, '\\', bytes) != NULL;
	add_text(operation, ",\"", 2, false);
	add_text(operation, key, bytes, true);
	add_text(operation, "\":", 2, false);
	operation->name_bytes = buf_bytes(&operation->parts[0].text);
}

/* As compile_key, with a key as it stands in JSON, which may hold placeholders;
 * it is put as it stands there. */
static int
compile_json_key(const struct patch_names *names, struct operation *operation,
    const char *key, size_t bytes, char *why, size_t why_bytes)
{
	char *text = mem_strndup(key, bytes);
	int result;
	const uint8_t *name;

	add_text(operation, ",\"", 2, false);
	result = add_value(names, operation, text, false, why, why_bytes);
	free(text);
	add_text(operation, "\":", 2, false);
	if (result == -1)
		return -1;
	if (operation->count > 1) {
		(void)snprintf(why, why_bytes,
		    "a key of a record is the same for all events: without "
		    "${seq}, ${log_id} and ${ingest_ns}");
		return -1;
	}
	name = buf_front(&operation->parts[0].text) + 2;
	operation->name_bytes = buf_bytes(&operation->parts[0].text);
	bytes = operation->name_bytes - 4;
	operation->key = mem_calloc(bytes + 1, 1);
	operation->key_bytes = json_resolve(operation->key, name, bytes);
	operation->key_has_backslash =
	    memchr(operation->key, '\\', operation->key_bytes) != NULL;
	return 0;
}

/* Refuses a key that a record has twice: which one counts? */
static int
check_twice(const struct operation *operation, char *why, size_t why_bytes)
{
	const struct operation *last =
	    &operation->inner[operation->inner_count - 1];
	char key[64];

	for (const struct operation *one = operation->inner; one < last; one++)
		if (one->key_bytes == last->key_bytes &&
		    memcmp(one->key, last->key, one->key_bytes) == 0) {
			(void)log_escape(
			    key, sizeof(key), last->key, last->key_bytes);
			(void)snprintf(why, why_bytes,
			    "the record has the key \"%s\" twice", key);
			return -1;
		}
	return 0;
}

static int compile_record(const struct patch_names *names,
    struct operation *operation, const char *record, size_t bytes, char *why,
    size_t why_bytes);

/* Compiles what a member of a record does: null erases, a record is merged,
 * all else takes the place of what is there. */
static int
compile_member(const struct patch_names *names, struct operation *operation,
    const char *value, size_t bytes, char *why, size_t why_bytes)
{
	char *text;
	int result;

	if (value[0] == 'n') {
		operation->how = PATCH_ERASE;
		return 0;
	}
	if (value[0] == '{') {
		operation->how = PATCH_MERGE;
		return compile_record(
		    names, operation, value, bytes, why, why_bytes);
	}
	operation->how = PATCH_UPSERT;
	text = mem_strndup(value, bytes);
	result = add_value(names, operation, text, false, why, why_bytes);
	free(text);
	return result;
}

/* Gives the operation one for each member of `record`, which is checked JSON
 * and an object. */
static int
compile_record(const struct patch_names *names, struct operation *operation,
    const char *record, size_t bytes, char *why, size_t why_bytes)
{
	struct json_member member;
	size_t at = 0;

	while (json_next_member((const uint8_t *)record, bytes, &at, &member)) {
		struct operation *inner;

		operation->inner = mem_realloc(operation->inner,
		    operation->inner_count + 1, sizeof(*operation->inner));
		inner = &operation->inner[operation->inner_count++];
		*inner = (struct operation){0};
		if (compile_json_key(names, inner, record + member.key,
			member.key_bytes, why, why_bytes) == -1 ||
		    check_twice(operation, why, why_bytes) == -1 ||
		    compile_member(names, inner, record + member.value,
			member.value_bytes, why, why_bytes) == -1)
			return -1;
		operation->is_too_long |= inner->is_too_long;
	}
	return 0;
}

/* Says whether the text is JSON that can be the value of a member, and an
 * object if asked. */
static int
check_record(const char *record, char *why, size_t why_bytes)
{
	const uint8_t *in = (const uint8_t *)record;
	const char *wrong;
	size_t at;

	if (!json_check(in, strlen(record), &wrong, &at)) {
		(void)snprintf(why, why_bytes,
		    "a record is expected, a JSON object: %s at byte %zu",
		    wrong, at);
		return -1;
	}
	if (!json_is_object(in, strlen(record))) {
		(void)snprintf(
		    why, why_bytes, "a record is expected, a JSON object");
		return -1;
	}
	return 0;
}

/* What is put into an event must leave it one that is JSON for us. */
static int
check_depth(const char *value, char *why, size_t why_bytes)
{
	const char *wrong;
	char *around;
	size_t at;
	bool is_deep;

	if (!json_check((const uint8_t *)value, strlen(value), &wrong, &at))
		return 0;
	around = mem_printf("[%s]", value);
	is_deep =
	    !json_check((const uint8_t *)around, strlen(around), &wrong, &at);
	free(around);
	if (is_deep)
		(void)snprintf(why, why_bytes, "%s", wrong);
	return is_deep ? -1 : 0;
}

/* Holds the text against what all operations take. */
static int
check_text(const char *text, char *why, size_t why_bytes)
{
	if (!json_is_utf8(text, strlen(text))) {
		(void)snprintf(why, why_bytes, "not valid UTF-8");
		return -1;
	}
	if (strlen(text) > TEXT_MAX_BYTES) {
		(void)snprintf(why, why_bytes, "too much to insert");
		return -1;
	}
	return 0;
}

static int
compile_pair(const struct patch_names *names, struct operation *operation,
    const char *text, char *why, size_t why_bytes)
{
	const char *equals = strchr(text, '=');
	bool is_merge = operation->how == PATCH_MERGE;

	if (equals == NULL || equals == text) {
		(void)snprintf(why, why_bytes, "KEY=%s expected",
		    is_merge ? "RECORD" : "VALUE");
		return -1;
	}
	compile_key(operation, text, (size_t)(equals - text));
	if (check_depth(equals + 1, why, why_bytes) == -1)
		return -1;
	if (!is_merge)
		return compile_value(
		    names, operation, equals + 1, why, why_bytes);
	if (check_record(equals + 1, why, why_bytes) == -1)
		return -1;
	return compile_record(
	    names, operation, equals + 1, strlen(equals + 1), why, why_bytes);
}

static int
compile_any(const struct patch_names *names, struct operation *operation,
    const char *text, char *why, size_t why_bytes)
{
	switch (operation->how) {
	case PATCH_ERASE:
		if (text[0] == '\0') {
			(void)snprintf(why, why_bytes, "KEY expected");
			return -1;
		}
		compile_key(operation, text, strlen(text));
		return 0;
	case PATCH_MERGE_EVENT:
		if (check_record(text, why, why_bytes) == -1)
			return -1;
		return compile_record(
		    names, operation, text, strlen(text), why, why_bytes);
	default:
		return compile_pair(names, operation, text, why, why_bytes);
	}
}

int
patch_compile(struct operation *operation, const struct patch_names *names,
    enum patch_how how, const char *text, char *why, size_t why_bytes)
{
	*operation = (struct operation){.how = how};
	if (check_text(text, why, why_bytes) == -1)
		return -1;
	if (compile_any(names, operation, text, why, why_bytes) == -1)
		goto fail;
	if (operation->is_too_long) {
		(void)snprintf(why, why_bytes, "too much to insert");
		goto fail;
	}
	return 0;

fail:
	patch_compile_fini(operation);
	return -1;
}
