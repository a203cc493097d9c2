#include "stage/envtext.h"

#include "stage/mem.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char alphanumeric[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				   "abcdefghijklmnopqrstuvwxyz"
				   "0123456789_";

static const char start[] = "${env:";
#define START_BYTES (sizeof(start) - 1)

/* Returns the length of the name in the placeholder at `at`; 0: it is none. */
static size_t
name_bytes(const char *at)
{
	size_t bytes;

	if (strncmp(at, start, START_BYTES) != 0)
		return 0;
	bytes = strspn(at + START_BYTES, alphanumeric);
	if (bytes > ENVTEXT_NAME_BYTES || at[START_BYTES + bytes] != '}')
		return 0;
	return bytes;
}

const char *
envtext_fault(const char *text, size_t *bytes)
{
	for (const char *at = text; (at = strstr(at, "${")) != NULL; at++) {
		if (name_bytes(at) > 0)
			continue;
		*bytes = strcspn(at, "}");
		if (at[*bytes] == '}')
			(*bytes)++;
		return at;
	}
	return NULL;
}

bool
envtext_is_used(const char *text)
{
	return strstr(text, start) != NULL;
}

/* What was put together so far; it may be a secret. */
struct output {
	char *text; /* owned */
	size_t bytes;
	size_t room;
};

/* Appends one byte; what is moved elsewhere leaves no copy behind. */
static void
put(struct output *out, char c)
{
	char *old = out->text;

	if (out->bytes == out->room) {
		out->room = 2 * out->room + 64;
		out->text = mem_alloc(out->room);
		if (out->bytes > 0)
			memcpy(out->text, old, out->bytes);
		if (old != NULL)
			explicit_bzero(old, out->bytes);
		free(old);
	}
	out->text[out->bytes++] = c;
}

static void
put_value(struct output *out, const char *value, enum envtext_form form)
{
	static const char digits[] = "0123456789ABCDEF";

	for (; *value != '\0'; value++) {
		uint8_t c = (uint8_t)*value;

		if (form == ENVTEXT_PLAIN ||
		    strchr(alphanumeric, *value) != NULL ||
		    strchr("-.~", *value) != NULL) {
			put(out, *value);
			continue;
		}
		put(out, '%');
		put(out, digits[c >> 4]);
		put(out, digits[c & 15]);
	}
}

/* Appends what the placeholder at `at` stands for, whose name has `bytes`. */
static int
put_variable(struct output *out, const char *at, size_t bytes,
    enum envtext_form form, char *why)
{
	char name[ENVTEXT_NAME_BYTES + 1];
	const char *value;

	memcpy(name, at + START_BYTES, bytes);
	name[bytes] = '\0';
	value = getenv(name);
	if (value == NULL) {
		(void)snprintf(why, ENVTEXT_WHY_BYTES,
		    "the environment variable %s is not set", name);
		return -1;
	}
	put_value(out, value, form);
	return 0;
}

char *
envtext_expand(
    const char *text, enum envtext_form form, char why[ENVTEXT_WHY_BYTES])
{
	struct output out = {0};
	size_t bytes;

	if (envtext_fault(text, &bytes) != NULL) {
		(void)snprintf(
		    why, ENVTEXT_WHY_BYTES, "a \"${\" that is no ${env:NAME}");
		return NULL;
	}
	while (*text != '\0') {
		bytes = name_bytes(text);
		if (bytes == 0) {
			put(&out, *text++);
			continue;
		}
		if (put_variable(&out, text, bytes, form, why) == -1)
			goto fail;
		text += START_BYTES + bytes + 1;
	}
	put(&out, '\0');
	return out.text;

fail:
	if (out.text != NULL)
		explicit_bzero(out.text, out.bytes);
	free(out.text);
	return NULL;
}
