/*
 * The check of the Upgrade's response, what is told of one that refuses it, and
 * the check of what users want in the request. A response that is taken must
 * hold what RFC 6455 asks for.
 */
#include "stage/header.h"
#include "wssink/wshandshake.h"
#include "wssink/wsrefusal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* RFC 6455, section 1.3. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is told is printable, in one line, and ends. */
static void
check_refusal(
    const struct wshandshake_reply *reply, const uint8_t *data, size_t n)
{
	char text[WSREFUSAL_BYTES];

	assert(reply->head_bytes <= n);
	wsrefusal_tell(
	    text, reply, data + reply->head_bytes, n - reply->head_bytes);
	assert(memchr(text, '\0', sizeof(text)) != NULL);
	for (const char *p = text; *p != '\0'; p++)
		assert(*p >= ' ' && *p <= '~');
	assert(wsrefusal_wait_ms(reply, 0) <= WSREFUSAL_WAIT_MAX_MS);
}

/* Checks the first `n` bytes of a response, in memory of that size. */
static enum wshandshake_status
check(const uint8_t *data, size_t n)
{
	uint8_t *exact = malloc(n == 0 ? 1 : n);
	struct wshandshake_reply reply;
	enum wshandshake_status status;

	memcpy(exact, data, n);
	status = wshandshake_check(exact, n, KEY, "chat, log", &reply);
	if (status == WSHANDSHAKE_READY) {
		assert(reply.head_bytes <= n);
		assert(reply.status == 101);
		assert(memmem(exact, n, ACCEPT, strlen(ACCEPT)) != NULL);
	}
	if (status == WSHANDSHAKE_REFUSED) {
		assert(reply.why != NULL);
		check_refusal(&reply, exact, n);
	}
	if (reply.reason_bytes > 0)
		assert(reply.reason + reply.reason_bytes <=
		       (const char *)exact + n);
	free(exact);
	return status;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum wshandshake_status whole;
	char *text;

	if (size == 0)
		return 0;
	whole = check(data, size);
	/* With fewer bytes it may be undecided, never decided otherwise. */
	for (size_t n = 0; n < size; n += 1 + size / 1024) {
		enum wshandshake_status part = check(data, n);

		assert(part == WSHANDSHAKE_PARTIAL || part == whole);
	}
	text = malloc(size + 1);
	memcpy(text, data, size);
	text[size] = '\0';
	if (header_fault(text) == NULL)
		assert(strpbrk(text, "\r\n") == NULL);
	if (wshandshake_protocol_fault(text) == NULL)
		assert(strpbrk(text, "\r\n ,") == NULL);
	free(text);
	return 0;
}
