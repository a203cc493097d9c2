#include "t/suite.h"
#include "wssink/wshandshake.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* RFC 6455, section 1.3: the sample key and what answers it. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

#define STATUS "HTTP/1.1 101 Switching Protocols\r\n"
#define UPGRADE "Upgrade: websocket\r\n"
#define CONNECTION "Connection: Upgrade\r\n"
#define ANSWER "Sec-WebSocket-Accept: " ACCEPT "\r\n"
#define GOOD STATUS UPGRADE CONNECTION ANSWER "\r\n"

/* Checks exactly these bytes, so that a read beyond them is seen. */
static enum wshandshake_status
check_bytes(const char *text, size_t n, const char *protocols,
    struct wshandshake_reply *reply)
{
	static uint8_t *exact;
	enum wshandshake_status status;

	free(exact);
	exact = malloc(n == 0 ? 1 : n);
	ck_assert_ptr_nonnull(exact);
	memcpy(exact, text, n);
	status = wshandshake_check(exact, n, KEY, protocols, reply);
	if (status == WSHANDSHAKE_REFUSED)
		ck_assert_ptr_nonnull(reply->why);
	return status;
}

static enum wshandshake_status
check(const char *text, const char *protocols, struct wshandshake_reply *reply)
{
	return check_bytes(text, strlen(text), protocols, reply);
}

START_TEST(test_key_and_accept_are_those_of_the_rfc)
{
	char key[WSHANDSHAKE_KEY_BYTES], accept[WSHANDSHAKE_ACCEPT_BYTES];

	wshandshake_key(key, (const uint8_t *)"the sample nonce");
	ck_assert_str_eq(key, KEY);
	ck_assert_int_eq(wshandshake_accept(accept, key), 0);
	ck_assert_str_eq(accept, ACCEPT);
}
END_TEST

START_TEST(test_request_asks_for_the_upgrade)
{
	static const char *const headers[] = {"X-One: 1", "X-Two: 2"};
	const struct wshandshake_request request = {
	    .host = "example.org:8080",
	    .target = "/chat?x=1",
	    .protocols = "a, b",
	    .headers = headers,
	    .header_count = 2,
	};
	static const char wanted[] = "GET /chat?x=1 HTTP/1.1\r\n"
				     "Host: example.org:8080\r\n"
				     "Upgrade: websocket\r\n"
				     "Connection: Upgrade\r\n"
				     "Sec-WebSocket-Key: " KEY "\r\n"
				     "Sec-WebSocket-Version: 13\r\n"
				     "Sec-WebSocket-Protocol: a, b\r\n"
				     "X-One: 1\r\n"
				     "X-Two: 2\r\n"
				     "\r\n";
	struct buf out;

	buf_init(&out, 4096);
	ck_assert_int_eq(wshandshake_put(&out, &request, KEY), 0);
	ck_assert_uint_eq(buf_bytes(&out), strlen(wanted));
	ck_assert_mem_eq(buf_front(&out), wanted, strlen(wanted));
	buf_fini(&out);
	buf_init(&out, strlen(wanted) - 1);
	ck_assert_int_eq(wshandshake_put(&out, &request, KEY), -1);
	buf_fini(&out);
}
END_TEST

START_TEST(test_basic_auth_is_that_of_rfc_7617)
{
	char *header = wshandshake_basic_auth("Aladdin", "open sesame");

	ck_assert_str_eq(
	    header, "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
	free(header);
}
END_TEST

START_TEST(test_protocol_is_a_token)
{
	ck_assert_ptr_null(wshandshake_protocol_fault("chat.v1+json"));
	ck_assert_ptr_nonnull(wshandshake_protocol_fault(""));
	ck_assert_ptr_nonnull(wshandshake_protocol_fault("a b"));
	ck_assert_ptr_nonnull(wshandshake_protocol_fault("a,b"));
	ck_assert_ptr_nonnull(wshandshake_protocol_fault("a\r\nX: y"));
}
END_TEST

/* Any cut is partial; frames behind the header are left alone. */
START_TEST(test_good_response_cut_at_every_byte)
{
	static const char text[] = GOOD "\x81\x01x";
	struct wshandshake_reply reply;
	size_t head = strlen(GOOD);

	for (size_t cut = 0; cut < head; cut++)
		ck_assert_int_eq(
		    check_bytes(text, cut, NULL, &reply), WSHANDSHAKE_PARTIAL);
	for (size_t cut = head; cut < sizeof(text); cut++) {
		ck_assert_int_eq(
		    check_bytes(text, cut, NULL, &reply), WSHANDSHAKE_READY);
		ck_assert_uint_eq(reply.head_bytes, head);
		ck_assert_uint_eq(reply.status, 101);
		ck_assert_ptr_null(reply.protocol);
	}
}
END_TEST

/* A good response stays good only where the flip is in text that no check
 * reads: the reason, or the case of a name or word. */
START_TEST(test_good_response_with_each_bit_flipped)
{
	struct wshandshake_reply reply;
	size_t reason = strlen("HTTP/1.1 101 ");

	for (size_t i = 0; i < 8 * strlen(GOOD); i++) {
		char text[] = GOOD;
		enum wshandshake_status status;
		size_t at = i / 8;

		text[at] = (char)(text[at] ^ (1 << i % 8));
		status = check(text, NULL, &reply);
		if (status != WSHANDSHAKE_READY)
			continue;
		if (at >= reason && at < strlen(STATUS))
			continue;
		/* HTTP/1.3 is what 1.1 may become; nobody minds it. */
		if (at == strlen("HTTP/1."))
			continue;
		ck_assert_msg(i % 8 == 5 || text[at] == '\t',
		    "byte %zu bit %zu: still taken", at, i % 8);
	}
}
END_TEST

START_TEST(test_good_responses_in_other_words)
{
	static const char *const good[] = {
	    "HTTP/1.1 101\r\n" UPGRADE CONNECTION ANSWER "\r\n",
	    "HTTP/1.1 101 \r\n" UPGRADE CONNECTION ANSWER "\r\n",
	    STATUS "upgrade:WebSocket\r\n" CONNECTION ANSWER "\r\n",
	    STATUS UPGRADE "CONNECTION: keep-alive , UPGRADE\r\n" ANSWER "\r\n",
	    STATUS UPGRADE "Connection: keep-alive\r\n" CONNECTION ANSWER
			   "\r\n",
	    STATUS UPGRADE CONNECTION "sec-websocket-accept:\t" ACCEPT
				      " \r\n\r\n",
	    STATUS UPGRADE CONNECTION ANSWER "Server: a:b\r\nX:\r\n\r\n",
	    STATUS UPGRADE CONNECTION ANSWER
	    "Sec-WebSocket-Extensions: \r\n\r\n",
	};
	struct wshandshake_reply reply;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		ck_assert_msg(check(good[i], NULL, &reply) == WSHANDSHAKE_READY,
		    "refused (%s): %s", reply.why, good[i]);
}
END_TEST

START_TEST(test_refused_responses)
{
	static const char *const bad[] = {
	    "SSH-2.0-OpenSSH_9.2\r\n",
	    "x",
	    "HTTP/2 101\r\n\r\n",
	    "HTTP/1.0 101 x\r\n" UPGRADE CONNECTION ANSWER "\r\n",
	    "HTTP/1.1 1O1 x\r\n" UPGRADE CONNECTION ANSWER "\r\n",
	    "HTTP/1.1 1010 x\r\n" UPGRADE CONNECTION ANSWER "\r\n",
	    "HTTP/1.1  101 x\r\n" UPGRADE CONNECTION ANSWER "\r\n",
	    "HTTP/1.1 099 x\r\n\r\n",
	    "HTTP/1.1\r\n\r\n",
	    "HTTP/1.1 200 OK\r\n" UPGRADE CONNECTION ANSWER "\r\n",
	    "HTTP/1.1 101 x\n" UPGRADE CONNECTION ANSWER "\r\n",
	    STATUS CONNECTION ANSWER "\r\n",
	    STATUS "Upgrade: h2c\r\n" CONNECTION ANSWER "\r\n",
	    STATUS "Upgrade: websocket, h2c\r\n" CONNECTION ANSWER "\r\n",
	    STATUS UPGRADE "Upgrade: h2c\r\n" CONNECTION ANSWER "\r\n",
	    STATUS UPGRADE ANSWER "\r\n",
	    STATUS UPGRADE "Connection: keep-alive\r\n" ANSWER "\r\n",
	    STATUS UPGRADE "Connection: upgraded\r\n" ANSWER "\r\n",
	    STATUS UPGRADE CONNECTION "\r\n",
	    STATUS UPGRADE CONNECTION "Sec-WebSocket-Accept: \r\n\r\n",
	    STATUS UPGRADE CONNECTION "Sec-WebSocket-Accept: " KEY "\r\n\r\n",
	    STATUS UPGRADE CONNECTION "Sec-WebSocket-Accept: "
				      "S3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
	    STATUS UPGRADE CONNECTION ANSWER ANSWER "\r\n",
	    STATUS UPGRADE CONNECTION ANSWER
	    "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
	    STATUS UPGRADE CONNECTION ANSWER
	    "Sec-WebSocket-Protocol: a\r\n\r\n",
	    STATUS UPGRADE CONNECTION ANSWER "no colon\r\n\r\n",
	    STATUS UPGRADE CONNECTION ANSWER "X : y\r\n\r\n",
	    STATUS UPGRADE CONNECTION ANSWER "X: y\r\n folded\r\n\r\n",
	    STATUS UPGRADE CONNECTION ANSWER ": y\r\n\r\n",
	    STATUS UPGRADE CONNECTION ANSWER "X: a\rb\r\n\r\n",
	};
	struct wshandshake_reply reply;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(
		    check(bad[i], NULL, &reply) == WSHANDSHAKE_REFUSED,
		    "not refused: %s", bad[i]);
}
END_TEST

/* Interim responses say nothing yet; the last one counts. */
START_TEST(test_interim_responses_are_left_out)
{
	static const char hints[] = "HTTP/1.1 103 Early Hints\r\n"
				    "Sec-WebSocket-Accept: no\r\n\r\n"
				    "HTTP/1.1 100 Continue\r\n\r\n" GOOD;
	struct wshandshake_reply reply;

	for (size_t cut = 0; cut < strlen(hints); cut++)
		ck_assert_int_eq(
		    check_bytes(hints, cut, NULL, &reply), WSHANDSHAKE_PARTIAL);
	ck_assert_int_eq(check(hints, NULL, &reply), WSHANDSHAKE_READY);
	ck_assert_uint_eq(reply.head_bytes, strlen(hints));
	ck_assert_int_eq(check("HTTP/1.1 100 x\r\n\r\nSSH", NULL, &reply),
	    WSHANDSHAKE_REFUSED);
}
END_TEST

/* However many there are, all of them together are held to the cap. */
START_TEST(test_interim_responses_are_held_to_the_cap)
{
	static const char hint[] = "HTTP/1.1 100 x\r\n\r\n";
	struct wshandshake_reply reply;
	size_t n = 0, room = WSHANDSHAKE_HEAD_BYTES + 2 * sizeof(hint);
	char *text = malloc(room);

	ck_assert_ptr_nonnull(text);
	while (n + strlen(hint) <= room) {
		memcpy(text + n, hint, strlen(hint));
		n += strlen(hint);
	}
	for (size_t cut = 0; cut <= n; cut++)
		ck_assert_int_eq(check_bytes(text, cut, NULL, &reply),
		    cut < WSHANDSHAKE_HEAD_BYTES ? WSHANDSHAKE_PARTIAL
						 : WSHANDSHAKE_REFUSED);
	free(text);
}
END_TEST

/* The user reads what the server said. */
START_TEST(test_refusal_tells_status_reason_and_body)
{
	static const char text[] = "HTTP/1.1 503 Service Unavailable\r\n"
				   "Content-Length: 4\r\n\r\nbusy";
	struct wshandshake_reply reply;

	ck_assert_int_eq(check(text, NULL, &reply), WSHANDSHAKE_REFUSED);
	ck_assert_uint_eq(reply.status, 503);
	ck_assert_uint_eq(reply.reason_bytes, strlen("Service Unavailable"));
	ck_assert_mem_eq(reply.reason, "Service Unavailable", 19);
	ck_assert_uint_eq(reply.head_bytes, strlen(text) - 4);
}
END_TEST

START_TEST(test_subprotocol_is_one_of_those_asked_for)
{
	static const struct {
		const char *asked;
		const char *header;
		enum wshandshake_status status;
	} cases[] = {
	    {"a, b", "Sec-WebSocket-Protocol: b\r\n", WSHANDSHAKE_READY},
	    {"a, b", "", WSHANDSHAKE_READY},
	    {"a, b", "Sec-WebSocket-Protocol: c\r\n", WSHANDSHAKE_REFUSED},
	    {"a, b", "Sec-WebSocket-Protocol: B\r\n", WSHANDSHAKE_REFUSED},
	    {"a, b", "Sec-WebSocket-Protocol: a, b\r\n", WSHANDSHAKE_REFUSED},
	    {"a, b", "Sec-WebSocket-Protocol:\r\n", WSHANDSHAKE_REFUSED},
	    {"a, b",
		"Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b\r\n",
		WSHANDSHAKE_REFUSED},
	};
	struct wshandshake_reply reply;
	char text[1024];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		(void)snprintf(text, sizeof(text), "%s%s\r\n",
		    STATUS UPGRADE CONNECTION ANSWER, cases[i].header);
		ck_assert_int_eq(
		    check(text, cases[i].asked, &reply), cases[i].status);
	}
	(void)check(STATUS UPGRADE CONNECTION ANSWER
	    "Sec-WebSocket-Protocol: b\r\n\r\n",
	    "a, b", &reply);
	ck_assert_uint_eq(reply.protocol_bytes, 1);
	ck_assert_mem_eq(reply.protocol, "b", 1);
}
END_TEST

/* A header that ends just within the cap is read; one byte more is refused,
 * whether its end has come or not. */
START_TEST(test_header_is_held_to_the_cap)
{
	static const char start[] = STATUS UPGRADE CONNECTION ANSWER "X: ";
	char *text = malloc(WSHANDSHAKE_HEAD_BYTES + 8);
	struct wshandshake_reply reply;
	size_t n = WSHANDSHAKE_HEAD_BYTES;

	ck_assert_ptr_nonnull(text);
	memset(text, 'x', n + 8);
	memcpy(text, start, strlen(start));
	memcpy(text + n - 4, "\r\n\r\n", 4);
	ck_assert_int_eq(check_bytes(text, n, NULL, &reply), WSHANDSHAKE_READY);
	memset(text, 'x', n + 8);
	memcpy(text, start, strlen(start));
	memcpy(text + n - 3, "\r\n\r\n", 4);
	ck_assert_int_eq(
	    check_bytes(text, n - 1, NULL, &reply), WSHANDSHAKE_PARTIAL);
	ck_assert_int_eq(
	    check_bytes(text, n, NULL, &reply), WSHANDSHAKE_REFUSED);
	ck_assert_int_eq(
	    check_bytes(text, n + 1, NULL, &reply), WSHANDSHAKE_REFUSED);
	free(text);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("wshandshake");
	TCase *tests = tcase_create("wshandshake");

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, test_key_and_accept_are_those_of_the_rfc);
	tcase_add_test(tests, test_request_asks_for_the_upgrade);
	tcase_add_test(tests, test_basic_auth_is_that_of_rfc_7617);
	tcase_add_test(tests, test_protocol_is_a_token);
	tcase_add_test(tests, test_good_response_cut_at_every_byte);
	tcase_add_test(tests, test_good_response_with_each_bit_flipped);
	tcase_add_test(tests, test_good_responses_in_other_words);
	tcase_add_test(tests, test_refused_responses);
	tcase_add_test(tests, test_interim_responses_are_left_out);
	tcase_add_test(tests, test_interim_responses_are_held_to_the_cap);
	tcase_add_test(tests, test_refusal_tells_status_reason_and_body);
	tcase_add_test(tests, test_subprotocol_is_one_of_those_asked_for);
	tcase_add_test(tests, test_header_is_held_to_the_cap);
	return suite_run(suite);
}
