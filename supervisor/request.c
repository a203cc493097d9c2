#include "supervisor/request.h"

#include "stage/json.h"

#include <cjson/cJSON.h>

#include <string.h>

#define KEY_COMMAND "command"

static const struct {
	const char *word;
	const char *line;
} table[] = {
    [REQUEST_STATUS] = {"status", "{\"" KEY_COMMAND "\":\"status\"}\n"},
    [REQUEST_STOP] = {"stop", "{\"" KEY_COMMAND "\":\"stop\"}\n"},
    [REQUEST_RELOAD] = {"reload", "{\"" KEY_COMMAND "\":\"reload\"}\n"},
};
_Static_assert(
    sizeof(table) / sizeof(table[0]) == REQUEST_VERBS, "a request is missing");

/* Finds which command the object has. Returns 0, or -1 with *why set. */
static int
find_verb(const cJSON *object, enum request_verb *verb, const char **why)
{
	const char *word = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(object, KEY_COMMAND));

	if (word == NULL) {
		*why = "no command is in it";
		return -1;
	}
	for (int i = 0; i < REQUEST_VERBS; i++) {
		if (strcmp(word, table[i].word) != 0)
			continue;
		*verb = (enum request_verb)i;
		return 0;
	}
	*why = "unknown command";
	return -1;
}

int
request_parse(const uint8_t *in, size_t in_bytes, enum request_verb *verb,
    const char **why)
{
	cJSON *object;
	size_t at;
	int result;

	if (in_bytes > REQUEST_MAX_BYTES) {
		*why = "longer than a request may be";
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
	result = find_verb(object, verb, why);
	cJSON_Delete(object);
	return result;
}

const char *
request_line(enum request_verb verb)
{
	return table[verb].line;
}

char *
request_error(const char *why)
{
	cJSON *answer = cJSON_CreateObject();
	char *text;

	(void)cJSON_AddStringToObject(answer, "error", why);
	text = cJSON_PrintUnformatted(answer);
	cJSON_Delete(answer);
	return text;
}
