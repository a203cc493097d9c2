#include "stage/ctlmsg.h"

#include "stage/json.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define KEY_REPORT "report"

/* The messages that are always the same, each with its one member. */
static const struct {
	const char *key;
	const char *text; /* the value, if it is a string; NULL: true or 1 */
	const char *json;
} table[] = {
    [CTLMSG_HELLO] = {"control", NULL, "{\"control\":1}"},
    [CTLMSG_ATTACH_IN] = {"attach", "in", "{\"attach\":\"in\"}"},
    [CTLMSG_ATTACH_OUT] = {"attach", "out", "{\"attach\":\"out\"}"},
    [CTLMSG_DRAIN] = {"drain", NULL, "{\"drain\":true}"},
    [CTLMSG_ASK] = {"ask", KEY_REPORT, "{\"ask\":\"report\"}"},
    [CTLMSG_READY] = {"ready", NULL, "{\"ready\":true}"},
    [CTLMSG_REPORT] = {KEY_REPORT, NULL, NULL},
    [CTLMSG_FAULT_IN] = {"fault", "in", "{\"fault\":\"in\"}"},
    [CTLMSG_FAULT_OUT] = {"fault", "out", "{\"fault\":\"out\"}"},
};
_Static_assert(
    sizeof(table) / sizeof(table[0]) == CTLMSG_KINDS, "a message is missing");

/* Says whether `value` is what the message has under its key. */
static bool
is_value_of(enum ctlmsg_kind kind, const cJSON *value)
{
	if (kind == CTLMSG_REPORT)
		return cJSON_IsObject(value);
	if (kind == CTLMSG_HELLO)
		return cJSON_IsNumber(value) && value->valuedouble == 1;
	if (table[kind].text == NULL)
		return cJSON_IsTrue(value);
	return cJSON_IsString(value) &&
	       strcmp(value->valuestring, table[kind].text) == 0;
}

/* Finds which message the object is. Returns 0, or -1 with *why set. */
static int
find_kind(const cJSON *object, enum ctlmsg_kind *kind, const char **why)
{
	bool has_key = false;

	*kind = CTLMSG_UNKNOWN;
	for (int i = CTLMSG_HELLO; i < CTLMSG_KINDS; i++) {
		const cJSON *value =
		    cJSON_GetObjectItemCaseSensitive(object, table[i].key);

		if (value == NULL)
			continue;
		has_key = true;
		if (!is_value_of((enum ctlmsg_kind)i, value))
			continue;
		*kind = (enum ctlmsg_kind)i;
		return 0;
	}
	if (!has_key)
		return 0;
	*why = "a value that its key cannot have";
	return -1;
}

int
ctlmsg_parse(const uint8_t *in, size_t in_bytes, enum ctlmsg_kind *kind,
    cJSON **report, const char **why)
{
	enum ctlmsg_kind found;
	cJSON *object;
	size_t at;
	int result;

	*report = NULL;
	if (in_bytes > CTLMSG_MAX_BYTES) {
		*why = "longer than a message may be";
		return -1;
	}
	if (!json_check(in, in_bytes, why, &at))
		return -1;
	object = cJSON_ParseWithLength((const char *)in, in_bytes);
	if (!cJSON_IsObject(object)) {
		*why = "not an object";
		cJSON_Delete(object);
		return -1;
	}
	result = find_kind(object, &found, why);
	if (result == 0) {
		*kind = found;
		if (found == CTLMSG_REPORT)
			*report = cJSON_DetachItemFromObjectCaseSensitive(
			    object, KEY_REPORT);
	}
	cJSON_Delete(object);
	return result;
}

static size_t
put_report(uint8_t out[CTLMSG_MAX_BYTES], const cJSON *report)
{
	static const char head[] = "{\"" KEY_REPORT "\":";
	size_t head_bytes = sizeof(head) - 1, bytes;
	char *text = cJSON_PrintUnformatted(report);

	bytes = strlen(text);
	if (head_bytes + bytes + 1 > CTLMSG_MAX_BYTES) {
		free(text);
		return 0;
	}
	memcpy(out, head, head_bytes);
	memcpy(out + head_bytes, text, bytes);
	out[head_bytes + bytes] = '}';
	free(text);
	return head_bytes + bytes + 1;
}

size_t
ctlmsg_put(
    uint8_t out[CTLMSG_MAX_BYTES], enum ctlmsg_kind kind, const cJSON *report)
{
	size_t bytes;

	assert(kind != CTLMSG_UNKNOWN && kind < CTLMSG_KINDS);
	if (kind == CTLMSG_REPORT)
		return put_report(out, report);
	bytes = strlen(table[kind].json);
	memcpy(out, table[kind].json, bytes);
	return bytes;
}
