/*
 * JSON from any bytes: what the strict check lets pass, cJSON reads too, but
 * for what it is known not to read, and both find the same members. The plain
 * check says the same, and the outline lists the same members.
 */
#include "stage/json.h"
#include "stage/json_plain.h"
#include "t/patch_reference.h"

#include <cjson/cJSON.h>

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* Walks the members and compares each with cJSON's, where that has any. */
static void
check_members(const uint8_t *in, size_t bytes, const cJSON *object)
{
	const cJSON *child = object == NULL ? NULL : object->child;
	struct json_member m;
	const char *why;
	size_t at = 0, place;

	while (json_next_member(in, bytes, &at, &m)) {
		assert(m.key >= 1 && m.key + m.key_bytes < m.value);
		assert(m.value + m.value_bytes <= at && at < bytes);
		assert(
		    json_check(in + m.key - 1, m.key_bytes + 2, &why, &place));
		assert(json_check(in + m.value, m.value_bytes, &why, &place));
		if (object == NULL)
			continue;
		assert(child != NULL);
		assert(json_key_is(in + m.key, m.key_bytes, child->string));
		child = child->next;
	}
	assert(child == NULL);
	assert(in[at] == '}');
}

static void
check_accepted(const uint8_t *in, size_t bytes)
{
	cJSON *value = NULL;

	assert(json_is_utf8(in, bytes));
	if (!patch_reference_cannot(in, bytes)) {
		value = cJSON_ParseWithLength((const char *)in, bytes);
		assert(value != NULL);
		assert(json_is_object(in, bytes) == cJSON_IsObject(value));
	}
	if (json_is_object(in, bytes))
		check_members(in, bytes, value);
	cJSON_Delete(value);
}

/* What is escaped can stand in a string. */
static void
check_escape(const uint8_t *in, size_t bytes)
{
	uint8_t *text = malloc(6 * bytes + 2);
	const char *why;
	size_t n, at;

	assert(text != NULL);
	text[0] = '"';
	n = 1 + json_escape(text + 1, in, bytes);
	text[n++] = '"';
	assert(json_check(text, n, &why, &at));
	free(text);
}

static void
check_outline(
    const uint8_t *in, size_t bytes, const struct json_outline *outline)
{
	struct json_member m;
	size_t at = 0, count = 0;

	assert(outline->is_object == json_is_object(in, bytes));
	if (!outline->is_object) {
		assert(!outline->is_whole && outline->count == 0);
		return;
	}
	for (; json_next_member(in, bytes, &at, &m); count++)
		if (count < outline->count)
			assert(memcmp(&m, &outline->members[count],
				   sizeof(m)) == 0);
	assert(outline->is_whole == (count == outline->count));
	assert(outline->is_whole || outline->count == JSON_OUTLINE_MEMBERS);
	assert(!outline->is_whole || outline->close == at);
}

/* Compares the plain check and the outline with what json_check said. */
static void
check_same(
    const uint8_t *in, size_t bytes, bool good, const char *why, size_t at)
{
	struct json_outline outline;
	const char *other_why = NULL;
	size_t other_at = SIZE_MAX;

	assert(json_plain_check(in, bytes, &other_why, &other_at) == good);
	assert(good || (strcmp(other_why, why) == 0 && other_at == at));
	other_why = NULL;
	other_at = SIZE_MAX;
	assert(
	    json_outline(in, bytes, &outline, &other_why, &other_at) == good);
	assert(good || (strcmp(other_why, why) == 0 && other_at == at));
	if (good)
		check_outline(in, bytes, &outline);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	const char *why = NULL;
	size_t at = SIZE_MAX;
	bool good = json_check(data, bytes, &why, &at);

	assert(good || (why != NULL && at <= bytes));
	check_same(data, bytes, good, why, at);
	if (good)
		check_accepted(data, bytes);
	if (json_is_utf8(data, bytes))
		check_escape(data, bytes);
	return 0;
}
