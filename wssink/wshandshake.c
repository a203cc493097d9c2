#include "wssink/wshandshake.h"

#include "stage/header.h"
#include "stage/mem.h"

#include <openssl/evp.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#define SHA1_BYTES 20
#define STATUS_LINE "HTTP/1."
#define STATUS_SWITCHING 101

/* Bytes of the response, or a part of them. */
struct text {
	const char *at;
	size_t bytes;
};

/* What the header fields of a response have said so far. */
struct fields {
	const char *accept; /* the value that is expected */
	const char *protocols;
	bool has_upgrade;
	bool has_connection;
	bool has_accept;
};

void
wshandshake_key(char key[WSHANDSHAKE_KEY_BYTES],
    const uint8_t nonce[WSHANDSHAKE_NONCE_BYTES])
{
	(void)EVP_EncodeBlock((uint8_t *)key, nonce, WSHANDSHAKE_NONCE_BYTES);
}

int
wshandshake_accept(char accept[WSHANDSHAKE_ACCEPT_BYTES], const char *key)
{
	char text[WSHANDSHAKE_KEY_BYTES + sizeof(GUID)];
	uint8_t digest[EVP_MAX_MD_SIZE];
	size_t n = strnlen(key, WSHANDSHAKE_KEY_BYTES - 1);

	memcpy(text, key, n);
	memcpy(text + n, GUID, sizeof(GUID));
	if (EVP_Digest(text, strlen(text), digest, NULL, EVP_sha1(), NULL) != 1)
		return -1;
	(void)EVP_EncodeBlock((uint8_t *)accept, digest, SHA1_BYTES);
	return 0;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct text
trim(struct text text)
{
	while (text.bytes > 0 && is_blank(text.at[0])) {
		text.at++;
		text.bytes--;
	}
	while (text.bytes > 0 && is_blank(text.at[text.bytes - 1]))
		text.bytes--;
	return text;
}

/* Says whether `text` is `word` in any case. */
static bool
is_word(struct text text, const char *word)
{
	return text.bytes == strlen(word) &&
	       strncasecmp(text.at, word, text.bytes) == 0;
}

/* Takes the next element off a comma-separated list; false at its end. */
static bool
next_element(struct text *list, struct text *element)
{
	const char *comma;
	size_t n;

	if (list->bytes == 0)
		return false;
	comma = memchr(list->at, ',', list->bytes);
	n = comma == NULL ? list->bytes : (size_t)(comma - list->at);
	*element = trim((struct text){list->at, n});
	if (comma != NULL)
		n++;
	list->at += n;
	list->bytes -= n;
	return true;
}

/* Splits a header line at its colon; false if it is not a header line. */
static bool
split(struct text line, struct text *name, struct text *value)
{
	const char *colon = NULL;

	if (line.bytes > 0)
		colon = memchr(line.at, ':', line.bytes);
	if (colon == NULL)
		return false;
	*name = (struct text){line.at, (size_t)(colon - line.at)};
	*value = trim((struct text){colon + 1, line.bytes - name->bytes - 1});
	return header_is_token(name->at, name->bytes);
}

const char *
wshandshake_protocol_fault(const char *name)
{
	return header_is_token(name, strlen(name)) ? NULL
						   : "not a token (RFC 9110)";
}

char *
wshandshake_basic_auth(const char *user, const char *password)
{
	char *plain = mem_printf("%s:%s", user, password);
	size_t n = strlen(plain);
	char *coded = mem_alloc(4 * ((n + 2) / 3) + 1);
	char *header;

	(void)EVP_EncodeBlock((uint8_t *)coded, (uint8_t *)plain, (int)n);
	header = mem_printf("Authorization: Basic %s", coded);
	free(coded);
	free(plain);
	return header;
}

static int
put_text(struct buf *out, const char *text)
{
	return buf_append(out, text, strlen(text));
}

static int
put_line(struct buf *out, const char *start, const char *rest)
{
	if (put_text(out, start) == -1 || put_text(out, rest) == -1)
		return -1;
	return put_text(out, "\r\n");
}

int
wshandshake_put(struct buf *out, const struct wshandshake_request *request,
    const char key[WSHANDSHAKE_KEY_BYTES])
{
	if (put_text(out, "GET ") == -1 ||
	    put_line(out, request->target, " HTTP/1.1") == -1 ||
	    put_line(out, "Host: ", request->host) == -1 ||
	    put_line(out, "Upgrade: websocket", "") == -1 ||
	    put_line(out, "Connection: Upgrade", "") == -1 ||
	    put_line(out, "Sec-WebSocket-Key: ", key) == -1 ||
	    put_line(out, "Sec-WebSocket-Version: 13", "") == -1)
		return -1;
	if (request->protocols != NULL &&
	    put_line(out, "Sec-WebSocket-Protocol: ", request->protocols) == -1)
		return -1;
	for (size_t i = 0; i < request->header_count; i++)
		if (put_line(out, request->headers[i], "") == -1)
			return -1;
	return put_text(out, "\r\n");
}

static enum wshandshake_status
refused(struct wshandshake_reply *reply, const char *why)
{
	reply->why = why;
	return WSHANDSHAKE_REFUSED;
}

/*
 * Takes the next line, without its CR LF, off `rest`. WSHANDSHAKE_PARTIAL: it
 * does not end yet.
 */
static enum wshandshake_status
next_line(struct text *rest, struct text *line, struct wshandshake_reply *reply)
{
	const char *end = NULL;
	size_t n;

	if (rest->bytes > 0)
		end = memchr(rest->at, '\n', rest->bytes);
	if (end == NULL)
		return WSHANDSHAKE_PARTIAL;
	n = (size_t)(end - rest->at);
	if (n == 0 || rest->at[n - 1] != '\r')
		return refused(reply, "a line of the response has no CR");
	*line = (struct text){rest->at, n - 1};
	rest->at += n + 1;
	rest->bytes -= n + 1;
	if (memchr(line->at, '\r', line->bytes) != NULL ||
	    memchr(line->at, '\0', line->bytes) != NULL)
		return refused(reply, "a stray CR or NUL in the response");
	return WSHANDSHAKE_READY;
}

/* Finds the end of the response's header, which begins at `start`. */
static enum wshandshake_status
find_head(const char *in, size_t in_bytes, size_t start,
    struct wshandshake_reply *reply)
{
	struct text rest = {in + start, in_bytes - start}, line = rest;
	enum wshandshake_status status;
	size_t n = strlen(STATUS_LINE);

	if (memcmp(rest.at, STATUS_LINE, rest.bytes < n ? rest.bytes : n) != 0)
		return refused(reply, "the response is not HTTP/1");
	if (in_bytes > WSHANDSHAKE_HEAD_BYTES)
		rest.bytes = WSHANDSHAKE_HEAD_BYTES - start;
	do {
		status = next_line(&rest, &line, reply);
	} while (status == WSHANDSHAKE_READY && line.bytes > 0);
	if (status == WSHANDSHAKE_PARTIAL && in_bytes >= WSHANDSHAKE_HEAD_BYTES)
		return refused(reply, "the response's header is over 16 KiB");
	if (status == WSHANDSHAKE_READY)
		reply->head_bytes = (size_t)(rest.at - in);
	return status;
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Reads "HTTP/1.1 101 Switching Protocols"; false if it is not of that form. */
static bool
read_status(struct text line, struct wshandshake_reply *reply, char *minor)
{
	const char *p = line.at + strlen(STATUS_LINE);
	size_t form = strlen(STATUS_LINE "1 101");

	if (line.bytes < form || !is_digit(p[0]) || p[1] != ' ' ||
	    !is_digit(p[2]) || !is_digit(p[3]) || !is_digit(p[4]))
		return false;
	if (p[2] == '0' || (line.bytes > form && p[5] != ' '))
		return false;
	*minor = p[0];
	reply->status = (unsigned)(p[2] - '0') * 100 +
			(unsigned)(p[3] - '0') * 10 + (unsigned)(p[4] - '0');
	reply->reason = line.at + line.bytes;
	if (line.bytes > form) {
		reply->reason = line.at + form + 1;
		reply->reason_bytes = line.bytes - form - 1;
	}
	return true;
}

/* Says whether `protocol` is one of the list that was asked for. */
static bool
is_asked_for(struct text protocol, const char *protocols)
{
	struct text list = {protocols, strlen(protocols)}, one;

	while (next_element(&list, &one))
		if (protocol.bytes > 0 && protocol.bytes == one.bytes &&
		    memcmp(protocol.at, one.at, one.bytes) == 0)
			return true;
	return false;
}

static const char *
take_protocol(
    struct text value, struct fields *fields, struct wshandshake_reply *reply)
{
	if (reply->protocol != NULL)
		return "Sec-WebSocket-Protocol comes twice";
	if (fields->protocols == NULL ||
	    !is_asked_for(value, fields->protocols))
		return "a subprotocol that was not asked for";
	reply->protocol = value.at;
	reply->protocol_bytes = value.bytes;
	return NULL;
}

/* Looks at one header field. Returns NULL or why the response is refused. */
static const char *
take_field(struct text name, struct text value, struct fields *fields,
    struct wshandshake_reply *reply)
{
	struct text one;

	if (is_word(name, "Upgrade")) {
		if (!is_word(value, "websocket"))
			return "Upgrade is not \"websocket\"";
		fields->has_upgrade = true;
	} else if (is_word(name, "Connection")) {
		while (next_element(&value, &one))
			if (is_word(one, "upgrade"))
				fields->has_connection = true;
	} else if (is_word(name, "Sec-WebSocket-Accept")) {
		if (fields->has_accept)
			return "Sec-WebSocket-Accept comes twice";
		if (value.bytes != strlen(fields->accept) ||
		    memcmp(value.at, fields->accept, value.bytes) != 0)
			return "Sec-WebSocket-Accept does not answer our key";
		fields->has_accept = true;
	} else if (is_word(name, "Sec-WebSocket-Extensions")) {
		while (next_element(&value, &one))
			if (one.bytes > 0)
				return "an extension that was not asked for";
	} else if (is_word(name, "Sec-WebSocket-Protocol")) {
		return take_protocol(value, fields, reply);
	}
	return NULL;
}

/* Looks at the header fields, `rest`, of a response with status 101. */
static const char *
take_fields(
    struct text rest, struct fields *fields, struct wshandshake_reply *reply)
{
	struct text line, name, value;
	const char *why;

	while (next_line(&rest, &line, reply) == WSHANDSHAKE_READY &&
	       line.bytes > 0) {
		if (!split(line, &name, &value))
			return "a malformed header field";
		why = take_field(name, value, fields, reply);
		if (why != NULL)
			return why;
	}
	if (!fields->has_upgrade)
		return "no Upgrade header";
	if (!fields->has_connection)
		return "no \"upgrade\" in the Connection header";
	if (!fields->has_accept)
		return "no Sec-WebSocket-Accept header";
	return NULL;
}

/* Picks what a response that is no websocket's says beside its status. */
static void
take_refusal(struct text rest, struct wshandshake_reply *reply)
{
	struct text line, name, value, one;

	while (next_line(&rest, &line, reply) == WSHANDSHAKE_READY &&
	       line.bytes > 0) {
		if (!split(line, &name, &value))
			continue;
		if (is_word(name, "Location")) {
			reply->location = value.at;
			reply->location_bytes = value.bytes;
		} else if (is_word(name, "Retry-After")) {
			reply->retry_after = value.at;
			reply->retry_after_bytes = value.bytes;
		} else if (is_word(name, "Transfer-Encoding")) {
			while (next_element(&value, &one))
				reply->is_chunked = is_word(one, "chunked");
		}
	}
}

/* Checks a response that is the last one, `rest` from behind its status. */
static enum wshandshake_status
check_final(struct text rest, char minor, const char *key,
    const char *protocols, struct wshandshake_reply *reply)
{
	char accept[WSHANDSHAKE_ACCEPT_BYTES];
	struct fields fields = {.accept = accept, .protocols = protocols};
	const char *why;

	if (reply->status != STATUS_SWITCHING) {
		take_refusal(rest, reply);
		return refused(reply, "the status is not 101");
	}
	if (minor == '0')
		return refused(reply, "the response is HTTP/1.0");
	if (wshandshake_accept(accept, key) == -1)
		return refused(reply, "the library has no SHA-1");
	why = take_fields(rest, &fields, reply);
	return why == NULL ? WSHANDSHAKE_READY : refused(reply, why);
}

enum wshandshake_status
wshandshake_check(const uint8_t *in, size_t in_bytes,
    const char key[WSHANDSHAKE_KEY_BYTES], const char *protocols,
    struct wshandshake_reply *reply)
{
	const char *text = (const char *)in;
	enum wshandshake_status status;
	struct text rest, line;
	size_t start = 0;
	char minor;

	for (;;) {
		*reply = (struct wshandshake_reply){0};
		status = find_head(text, in_bytes, start, reply);
		if (status != WSHANDSHAKE_READY)
			return status;
		rest = (struct text){text + start, reply->head_bytes - start};
		(void)next_line(&rest, &line, reply);
		if (!read_status(line, reply, &minor))
			return refused(reply, "a malformed status line");
		if (reply->status / 100 != 1 ||
		    reply->status == STATUS_SWITCHING)
			return check_final(rest, minor, key, protocols, reply);
		start = reply->head_bytes;
	}
}
