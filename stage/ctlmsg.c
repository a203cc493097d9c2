#include "stage/ctlmsg.h"

#include "stage/json.h"
#include "stage/mem.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_REPORT "report"
#define KEY_STREAMS "streams"
#define KEY_NAME "name"

/* The messages that are always the same, each with its one member. */
static const struct {
	const char *key;
	const char *text; /* the value, if it is a string; NULL: true or 1 */
	const char *json;
} table[] = {
    [CTLMSG_HELLO] = {"control", NULL, "{\"control\":1}"},
    [CTLMSG_STREAMS] = {KEY_STREAMS, NULL, NULL},
    [CTLMSG_ATTACH_IN] = {"attach", "in", "{\"attach\":\"in\"}"},
    [CTLMSG_ATTACH_OUT] = {"attach", "out", "{\"attach\":\"out\"}"},
    [CTLMSG_DRAIN] = {"drain", NULL, "{\"drain\":true}"},
    [CTLMSG_DRAIN_PRESENT] = {"drain", "present", "{\"drain\":\"present\"}"},
    [CTLMSG_ASK] = {"ask", KEY_REPORT, "{\"ask\":\"report\"}"},
    [CTLMSG_READY] = {"ready", NULL, "{\"ready\":true}"},
    [CTLMSG_REPORT] = {KEY_REPORT, NULL, NULL},
    [CTLMSG_FAULT_IN] = {"fault", "in", "{\"fault\":\"in\"}"},
    [CTLMSG_FAULT_OUT] = {"fault", "out", "{\"fault\":\"out\"}"},
};
_Static_assert(
    sizeof(table) / sizeof(table[0]) == CTLMSG_KINDS, "a message is missing");

/* Says whether it is a name that can stand in a message. */
static bool
is_name(const cJSON *value)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "abcdefghijklmnopqrstuvwxyz"
				      "0123456789_.-";
	const char *name;

	if (!cJSON_IsString(value))
		return false;
	name = value->valuestring;
	return name[0] != '\0' && name[0] != '.' &&
	       strlen(name) <= CTLMSG_NAME_BYTES &&
	       strspn(name, allowed) == strlen(name);
}

/* Says whether the object has a list of names under `key`. */
static bool
has_names(const cJSON *object, const char *key)
{
	const cJSON *list = cJSON_GetObjectItemCaseSensitive(object, key);
	const cJSON *item;
	int count = 0;

	if (!cJSON_IsArray(list))
		return false;
	cJSON_ArrayForEach(item, list)
	{
		if (!is_name(item) || ++count > CTLMSG_MAX_NAMES)
			return false;
	}
	return true;
}

/* Says whether the message has a body. */
static bool
has_body(enum ctlmsg_kind kind)
{
	return kind == CTLMSG_REPORT || kind == CTLMSG_STREAMS;
}

/* Says whether a name may stand beside it. */
static bool
has_name(enum ctlmsg_kind kind)
{
	return kind == CTLMSG_ATTACH_IN || kind == CTLMSG_ATTACH_OUT ||
	       kind == CTLMSG_FAULT_IN || kind == CTLMSG_FAULT_OUT;
}

/* Says whether `value` is what the message has under its key. */
static bool
is_value_of(enum ctlmsg_kind kind, const cJSON *value)
{
	if (kind == CTLMSG_REPORT)
		return cJSON_IsObject(value);
	if (kind == CTLMSG_STREAMS)
		return has_names(value, "in") && has_names(value, "out");
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

/* Takes the name that stands beside. Returns 0, or -1 with *why set. */
static int
take_name(const cJSON *object, struct ctlmsg *msg, const char **why)
{
	const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, KEY_NAME);

	if (value == NULL || !has_name(msg->kind))
		return 0;
	if (!is_name(value)) {
		*why = "not a name";
		return -1;
	}
	memcpy(msg->name, value->valuestring, strlen(value->valuestring) + 1);
	return 0;
}

int
ctlmsg_parse(
    const uint8_t *in, size_t in_bytes, struct ctlmsg *msg, const char **why)
{
	struct ctlmsg found = {.kind = CTLMSG_UNKNOWN};
	cJSON *object;
	size_t at;
	int result;

	msg->body = NULL;
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
	result = find_kind(object, &found.kind, why);
	if (result == 0)
		result = take_name(object, &found, why);
	if (result == 0) {
		if (has_body(found.kind))
			found.body = cJSON_DetachItemFromObjectCaseSensitive(
			    object, table[found.kind].key);
		*msg = found;
	}
	cJSON_Delete(object);
	return result;
}

static size_t
put_body(uint8_t out[CTLMSG_MAX_BYTES], const struct ctlmsg *msg)
{
	char *body = cJSON_PrintUnformatted(msg->body);
	char *text = mem_printf("{\"%s\":%s}", table[msg->kind].key, body);
	size_t bytes = strlen(text);

	if (bytes <= CTLMSG_MAX_BYTES)
		memcpy(out, text, bytes);
	free(body);
	free(text);
	return bytes <= CTLMSG_MAX_BYTES ? bytes : 0;
}

size_t
ctlmsg_put(uint8_t out[CTLMSG_MAX_BYTES], const struct ctlmsg *msg)
{
	enum ctlmsg_kind kind = msg->kind;

	assert(kind != CTLMSG_UNKNOWN && kind < CTLMSG_KINDS);
	if (has_body(kind))
		return put_body(out, msg);
	if (has_name(kind) && msg->name[0] != '\0')
		return (size_t)snprintf((char *)out, CTLMSG_MAX_BYTES,
		    "{\"%s\":\"%s\",\"" KEY_NAME "\":\"%s\"}", table[kind].key,
		    table[kind].text, msg->name);
	return (size_t)snprintf(
	    (char *)out, CTLMSG_MAX_BYTES, "%s", table[kind].json);
}
