#include "walproc/patch.h"

#include "stage/json.h"
#include "stage/mem.h"
#include "walproc/patch_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX_BYTES ((size_t)1 << 20)
#define PLACEHOLDER_MAX_BYTES 256
/* Longer ones are put by the operation. */
#define TAIL_MAX_BYTES ((size_t)64 << 10)

struct patch *
patch_new(const struct patch_names *names)
{
	struct patch *patch = mem_calloc(1, sizeof(*patch));

	patch->names = *names;
	patch->has_tail = true;
	buf_init(&patch->tail, TAIL_MAX_BYTES);
	return patch;
}

static void
operation_fini(struct operation *operation)
{
	free(operation->key);
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
	buf_fini(&patch->tail);
	free(patch);
}

bool
patch_uses_time(const struct patch *patch)
{
	return patch->uses[PART_INGEST_NS];
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
	    patch->count == PATCH_MAX_OPERATIONS) {
		(void)snprintf(why, why_bytes, "too much to insert");
		return -1;
	}
	return 0;
}

/* Sets the key, and adds what stands before the value. */
static void
compile_key(struct operation *operation, const char *key, size_t bytes)
{
	operation->key = mem_strndup(key, bytes);
	operation->key_bytes = bytes;
	operation->key_has_backslash = memchr(key, '\\', bytes) != NULL;
	add_text(operation, ",\"", 2, false);
	add_text(operation, key, bytes, true);
	add_text(operation, "\":", 2, false);
	operation->name_bytes = buf_bytes(&operation->parts[0].text);
}

/* Makes ready what is done to events that have none of the keys. */
static void
add_to_tail(struct patch *patch, const struct operation *operation)
{
	const struct buf *text = &operation->parts[0].text;

	patch->may_begin[(uint8_t)operation->key[0]] = true;
	patch->may_begin['\\'] = true;
	if (operation->count > 1 || operation->parts[0].kind != PART_TEXT ||
	    buf_append(&patch->tail, buf_front(text), buf_bytes(text)) == -1)
		patch->has_tail = false;
}

int
patch_add(struct patch *patch, enum patch_how how, const char *key_value,
    char *why, size_t why_bytes)
{
	const char *equals = strchr(key_value, '=');
	struct operation operation = {.how = how};

	if (check_operation(patch, key_value, equals, why, why_bytes) == -1)
		return -1;
	compile_key(&operation, key_value, (size_t)(equals - key_value));
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
	for (size_t i = 0; i < operation.count; i++)
		patch->uses[operation.parts[i].kind] = true;
	add_to_tail(patch, &operation);
	return 0;

fail:
	operation_fini(&operation);
	return -1;
}
