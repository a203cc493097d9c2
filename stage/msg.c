#include "stage/msg.h"

#include "stage/json.h"

#include <cjson/cJSON.h>

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define KEY_ACK "ack"
#define KEY_REJECT "reject"
#define KEY_BREAKER "breaker"
#define KEY_REASON "reason"
#define BREAKER_OPEN "open"
#define BREAKER_CLOSED "closed"

static int
parse_n(const cJSON *item, uint64_t *n, const char **why)
{
	double v = item->valuedouble;

	if (!cJSON_IsNumber(item) || v < 0 || v > (double)MSG_MAX_N ||
	    v != (double)(uint64_t)v) {
		*why = "the count is not a whole number in range";
		return -1;
	}
	*n = (uint64_t)v;
	return 0;
}

static int
parse_breaker(const cJSON *item, enum msg_kind *kind, const char **why)
{
	const char *state = cJSON_GetStringValue(item);

	if (state != NULL && strcmp(state, BREAKER_OPEN) == 0) {
		*kind = MSG_BREAKER_OPEN;
		return 0;
	}
	if (state != NULL && strcmp(state, BREAKER_CLOSED) == 0) {
		*kind = MSG_BREAKER_CLOSED;
		return 0;
	}
	*why = "the breaker is neither \"open\" nor \"closed\"";
	return -1;
}

static int
parse_object(const cJSON *object, struct msg *msg, const char **why)
{
	const cJSON *ack = cJSON_GetObjectItemCaseSensitive(object, KEY_ACK);
	const cJSON *reject =
	    cJSON_GetObjectItemCaseSensitive(object, KEY_REJECT);
	const cJSON *breaker =
	    cJSON_GetObjectItemCaseSensitive(object, KEY_BREAKER);
	const char *reason = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(object, KEY_REASON));

	if (reason != NULL)
		(void)snprintf(msg->reason, sizeof(msg->reason), "%s", reason);
	if (ack != NULL) {
		msg->kind = MSG_ACK;
		return parse_n(ack, &msg->n, why);
	}
	if (reject != NULL) {
		msg->kind = MSG_REJECT;
		return parse_n(reject, &msg->n, why);
	}
	if (breaker != NULL)
		return parse_breaker(breaker, &msg->kind, why);
	return 0;
}

int
msg_parse(const uint8_t *in, size_t in_bytes, struct msg *msg, const char **why)
{
	struct msg found = {.kind = MSG_UNKNOWN};
	cJSON *object;
	size_t at;
	int result;

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
	object = cJSON_ParseWithLength((const char *)in, in_bytes);
	if (object == NULL) {
		*why = "not read by the JSON library";
		return -1;
	}
	result = parse_object(object, &found, why);
	cJSON_Delete(object);
	if (result == 0)
		*msg = found;
	return result;
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
		assert(!"a message to send has a kind");
		return 0;
	}
	n += put_reason(text + n, MSG_MAX_BYTES - n, msg->reason);
	n += (size_t)snprintf(text + n, MSG_MAX_BYTES - n, "}");
	return n;
}
