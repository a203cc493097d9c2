#include "walproc/patch.h"

#include "stage/json.h"
#include "stage/log.h"
#include "stage/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What differs from event to event; all else is text by patch_add. */
enum part_kind {
	PART_TEXT,
	PART_SEQ,
	PART_INGEST_NS,
	PART_LOG_ID,
};

struct part {
	enum part_kind kind;
	struct buf text; /* PART_TEXT */
};

struct operation {
	enum patch_how how;
	char *key;	    /* owned */
	struct buf name;    /* the key as JSON, with quotes and colon */
	struct part *parts; /* owned: the value, piece by piece */
	size_t count;
};

struct patch {
	struct patch_names names;
	struct operation *operations; /* owned */
	size_t count;
};

#define TEXT_MAX_BYTES ((size_t)1 << 20)
#define OPERATIONS_MAX 256
#define PLACEHOLDER_MAX_BYTES 256

struct patch *
patch_new(const struct patch_names *names)
{
	struct patch *patch = mem_calloc(1, sizeof(*patch));

	patch->names = *names;
	return patch;
}

static void
operation_fini(struct operation *operation)
{
	free(operation->key);
	buf_fini(&operation->name);
	for (size_t i = 0; i < operation->count; i++)
		buf_fini(&operation->parts[i].text);
	free(operation->parts);
}

void
patch_free(struct patch *patch)
{
	if (patch == NULL)
		return;
	for (size_t i = 0; i < patch->count; i++)
		operation_fini(&patch->operations[i]);
	free(patch->operations);
	free(patch);
}

bool
patch_is_empty(const struct patch *patch)
{
	return patch->count == 0;
}

static struct part *
add_part(struct operation *operation, enum part_kind kind)
{
	struct part *part;

	operation->parts = mem_realloc(
	    operation->parts, operation->count + 1, sizeof(*operation->parts));
	part = &operation->parts[operation->count++];
	part->kind = kind;
	buf_init(&part->text, 8 * TEXT_MAX_BYTES);
	return part;
}

/* Adds text to the value, escaped for the inside of a string if asked. */
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
	if (!escape) {
		(void)buf_append(&part->text, text, bytes);
		return;
	}
	to = buf_reserve(&part->text, 6 * bytes);
	if (to != NULL)
		buf_commit(&part->text, json_escape(to, text, bytes));
}

/* Adds what `${name}` stands for. */
static int
add_placeholder(const struct patch *patch, struct operation *operation,
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
		text = patch->names.hostname;
	if (strcmp(name, "instance") == 0)
		text = patch->names.instance;
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
add_value(const struct patch *patch, struct operation *operation,
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
		if (add_placeholder(patch, operation, name, why, why_bytes) ==
		    -1)
			return -1;
		value = close + 1;
	}
}

static int
compile_value(const struct patch *patch, struct operation *operation,
    const char *value, char *why, size_t why_bytes)
{
	const char *ignored;
	size_t at;
	int result;

	if (json_check((const uint8_t *)value, strlen(value), &ignored, &at))
		return add_value(
		    patch, operation, value, false, why, why_bytes);
	/* Alone, these are numbers. */
	if (strcmp(value, "${seq}") == 0 || strcmp(value, "${ingest_ns}") == 0)
		return add_value(
		    patch, operation, value, false, why, why_bytes);
	add_text(operation, "\"", 1, false);
	result = add_value(patch, operation, value, true, why, why_bytes);
	add_text(operation, "\"", 1, false);
	return result;
}

static int
check_operation(const struct patch *patch, const char *key_value,
    const char *equals, char *why, size_t why_bytes)
{
	if (equals == NULL || equals == key_value) {
		(void)snprintf(why, why_bytes, "KEY=VALUE expected");
		return -1;
	}
	if (!json_is_utf8(key_value, strlen(key_value))) {
		(void)snprintf(why, why_bytes, "not valid UTF-8");
		return -1;
	}
	if (strlen(key_value) > TEXT_MAX_BYTES ||
	    patch->count == OPERATIONS_MAX) {
		(void)snprintf(why, why_bytes, "too much to insert");
		return -1;
	}
	return 0;
}

/* Writes the key as JSON into operation->name. */
static void
compile_key(struct operation *operation)
{
	size_t bytes = strlen(operation->key);
	uint8_t *to;

	buf_init(&operation->name, 8 * TEXT_MAX_BYTES);
	(void)buf_append(&operation->name, "\"", 1);
	to = buf_reserve(&operation->name, 6 * bytes);
	buf_commit(&operation->name, json_escape(to, operation->key, bytes));
	(void)buf_append(&operation->name, "\":", 2);
}

int
patch_add(struct patch *patch, enum patch_how how, const char *key_value,
    char *why, size_t why_bytes)
{
	const char *equals = strchr(key_value, '=');
	struct operation operation = {.how = how};

	if (check_operation(patch, key_value, equals, why, why_bytes) == -1)
		return -1;
	operation.key = mem_strndup(key_value, (size_t)(equals - key_value));
	compile_key(&operation);
	for (size_t i = 0; i < patch->count; i++) {
		if (strcmp(patch->operations[i].key, operation.key) != 0)
			continue;
		(void)snprintf(why, why_bytes, "the key is given twice");
		goto fail;
	}
	if (compile_value(patch, &operation, equals + 1, why, why_bytes) == -1)
		goto fail;
	patch->operations = mem_realloc(
	    patch->operations, patch->count + 1, sizeof(*patch->operations));
	patch->operations[patch->count++] = operation;
	return 0;

fail:
	operation_fini(&operation);
	return -1;
}

/* The patched event as it grows; `fits` is false once it went over the cap. */
struct output {
	struct buf *buf;
	bool fits;
};

static void
put(struct output *out, const void *data, size_t bytes)
{
	if (buf_append(out->buf, data, bytes) == -1)
		out->fits = false;
}

/* Puts the value of an operation. */
static void
put_value(const struct operation *operation, const struct patch_event *about,
    struct output *out)
{
	char number[24];

	for (size_t i = 0; i < operation->count; i++) {
		const struct part *part = &operation->parts[i];

		switch (part->kind) {
		case PART_TEXT:
			put(out, buf_front(&part->text),
			    buf_bytes(&part->text));
			break;
		case PART_SEQ:
			(void)snprintf(
			    number, sizeof(number), "%" PRIu64, about->seq);
			put(out, number, strlen(number));
			break;
		case PART_INGEST_NS:
			(void)snprintf(number, sizeof(number), "%" PRId64,
			    about->ingest_ns);
			put(out, number, strlen(number));
			break;
		case PART_LOG_ID:
			put(out, about->log_id, strlen(about->log_id));
			break;
		}
	}
}

/* Returns the operation that names this member, or NULL. */
static const struct operation *
operation_on(const struct patch *patch, const uint8_t *event,
    const struct json_member *member)
{
	for (size_t i = 0; i < patch->count; i++)
		if (json_key_is(event + member->key, member->key_bytes,
			patch->operations[i].key))
			return &patch->operations[i];
	return NULL;
}

/*
 * Copies the event up to its closing brace, with the new value of each member
 * that an upsert names; those are marked in `done`. Sets *at to the brace.
 */
static int
put_members(const struct patch *patch, const struct patch_event *about,
    const uint8_t *event, size_t bytes, struct output *out, bool *done,
    bool *is_empty, size_t *at, char *why, size_t why_bytes)
{
	struct json_member member;
	size_t copied = 0;
	char key[64];

	*is_empty = true;
	while (json_next_member(event, bytes, at, &member)) {
		const struct operation *on =
		    operation_on(patch, event, &member);

		*is_empty = false;
		if (on == NULL)
			continue;
		if (on->how == PATCH_INSERT) {
			(void)log_escape(
			    key, sizeof(key), on->key, strlen(on->key));
			(void)snprintf(why, why_bytes,
			    "insert: the key \"%s\" exists already", key);
			return -1;
		}
		put(out, event + copied, member.value - copied);
		put_value(on, about, out);
		copied = member.value + member.value_bytes;
		done[on - patch->operations] = true;
	}
	put(out, event + copied, *at - copied);
	return 0;
}

int
patch_apply(const struct patch *patch, const struct patch_event *about,
    const uint8_t *event, size_t bytes, struct buf *buf, char *why,
    size_t why_bytes)
{
	struct output out = {.buf = buf, .fits = true};
	bool done[OPERATIONS_MAX] = {false};
	bool is_empty;
	size_t at = 0;

	if (!json_is_object(event, bytes)) {
		(void)snprintf(why, why_bytes,
		    "not an object: nothing can be inserted into it");
		return -1;
	}
	if (put_members(patch, about, event, bytes, &out, done, &is_empty, &at,
		why, why_bytes) == -1)
		goto fail;
	for (size_t i = 0; i < patch->count; i++) {
		const struct operation *operation = &patch->operations[i];

		if (done[i])
			continue;
		if (!is_empty)
			put(&out, ",", 1);
		is_empty = false;
		put(&out, buf_front(&operation->name),
		    buf_bytes(&operation->name));
		put_value(operation, about, &out);
	}
	put(&out, event + at, bytes - at);
	if (out.fits)
		return 0;
	(void)snprintf(why, why_bytes, "too long once patched");

fail:
	buf_drop(buf, buf_bytes(buf));
	return -1;
}
