#include "stage/msg.h"

#include "stage/json.h"

#include <cjson/cJSON.h>

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define KEY_ACK "ack"
#define KEY_REJECT "reject"
#define KEY_BREAKER "breaker"
#define KEY_REASON "reason"
#define BREAKER_OPEN "open"
#define BREAKER_CLOSED "closed"

/*
 * Looks for the first member with that name. Returns false if there is none;
 * else true with *value, which the caller deletes, or NULL where the library
 * does not read it. Only these values are given to the library: what else is
 * in a message is ignored, whatever it is.
 */
static bool
get(const uint8_t *in, size_t in_bytes, const char *name, cJSON **value)
{
	struct json_member member;
	size_t at = 0;

	*value = NULL;
	while (json_next_member(in, in_bytes, &at, &member)) {
		if (!json_key_is(in + member.key, member.key_bytes, name))
			continue;
		*value = cJSON_ParseWithLength(
		    (const char *)in + member.value, member.value_bytes);
		return true;
	}
	return false;
}

static int
parse_n(const cJSON *item, struct msg *msg, const char **why)
{
	double v = cJSON_IsNumber(item) ? item->valuedouble : -1;

	if (v < 0 || v > (double)MSG_MAX_N || v != (double)(uint64_t)v) {
		*why = "the count is not a whole number in range";
		return -1;
	}
	msg->n = (uint64_t)v;
	return 0;
}

static int
parse_breaker(const cJSON *item, struct msg *msg, const char **why)
{
	const char *state = cJSON_GetStringValue(item);

	if (state != NULL && strcmp(state, BREAKER_OPEN) == 0) {
		msg->kind = MSG_BREAKER_OPEN;
		return 0;
	}
	if (state != NULL && strcmp(state, BREAKER_CLOSED) == 0) {
		msg->kind = MSG_BREAKER_CLOSED;
		return 0;
	}
	*why = "the breaker is neither \"open\" nor \"closed\"";
	return -1;
}

/* What makes a message one of a kind; the first that is there decides. */
static const struct {
	const char *name;
	enum msg_kind kind;
	int (*parse)(const cJSON *, struct msg *, const char **);
} kinds[] = {
    {KEY_ACK, MSG_ACK, parse_n},
    {KEY_REJECT, MSG_REJECT, parse_n},
    {KEY_BREAKER, MSG_BREAKER_OPEN, parse_breaker},
};

static int
parse_kind(
    const uint8_t *in, size_t in_bytes, struct msg *msg, const char **why)
{
	cJSON *value;
	int result;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (!get(in, in_bytes, kinds[i].name, &value))
			continue;
		msg->kind = kinds[i].kind;
		result = kinds[i].parse(value, msg, why);
		cJSON_Delete(value);
		return result;
	}
	return 0;
}

int
msg_parse(const uint8_t *in, size_t in_bytes, struct msg *msg, const char **why)
{
	struct msg found = {.kind = MSG_UNKNOWN};
	const char *reason;
	cJSON *value;
	size_t at;

	if (in_bytes > MSG_MAX_BYTES) {
		*why = "longer than a message may be";
		return -1;
	}
	if (!json_check(in, in_bytes, why, &at))
		return -1;
	if (!json_is_object(in, in_bytes)) {
		*why = "not an object";
		return -1;
	}
	if (parse_kind(in, in_bytes, &found, why) == -1) {
		msg->kind = found.kind;
		return -1;
	}
	(void)get(in, in_bytes, KEY_REASON, &value);
	reason = cJSON_GetStringValue(value);
	if (reason != NULL)
		(void)snprintf(
		    found.reason, sizeof(found.reason), "%s", reason);
	cJSON_Delete(value);
	*msg = found;
	return 0;
}

/* Writes `,"reason":"..."` to `out` unless there is none to tell. */
static size_t
put_reason(char *out, size_t room, const char *reason)
{
	uint8_t text[6 * MSG_REASON_BYTES];
	size_t n = strlen(reason);

	/* A reason that was cut inside a character loses that character. */
	while (n > 0 && !json_is_utf8(reason, n) && strlen(reason) - n < 4)
		n--;
	if (n == 0 || !json_is_utf8(reason, n))
		return 0;
	n = json_escape(text, reason, n);
	return (size_t)snprintf(
	    out, room, ",\"" KEY_REASON "\":\"%.*s\"", (int)n, (char *)text);
}

size_t
msg_put(uint8_t out[MSG_MAX_BYTES], const struct msg *msg)
{
	char *text = (char *)out;
	size_t n = 0;

	assert(msg->kind != MSG_UNKNOWN);
	switch (msg->kind) {
	case MSG_ACK:
		return (size_t)snprintf(text, MSG_MAX_BYTES,
		    "{\"" KEY_ACK "\":%" PRIu64 "}", msg->n);
	case MSG_REJECT:
		n = (size_t)snprintf(text, MSG_MAX_BYTES,
		    "{\"" KEY_REJECT "\":%" PRIu64, msg->n);
		break;
	case MSG_BREAKER_OPEN:
		n = (size_t)snprintf(text, MSG_MAX_BYTES,
		    "{\"" KEY_BREAKER "\":\"" BREAKER_OPEN "\"");
		break;
	case MSG_BREAKER_CLOSED:
		return (size_t)snprintf(text, MSG_MAX_BYTES,
		    "{\"" KEY_BREAKER "\":\"" BREAKER_CLOSED "\"}");
	case MSG_UNKNOWN:
		return 0;
	}
	n += put_reason(text + n, MSG_MAX_BYTES - n, msg->reason);
	n += (size_t)snprintf(text + n, MSG_MAX_BYTES - n, "}");
	return n;
}
