#include "wssink/wslink.h"

#include "stage/buf.h"
#include "stage/bytes.h"
#include "stage/frame.h"
#include "stage/log.h"
#include "stage/mem.h"
#include "stage/msg.h"
#include "wssink/window.h"
#include "wssink/wsframe.h"
#include "wssink/wshandshake.h"
#include "wssink/wsping.h"
#include "wssink/wsqueue.h"
#include "wssink/wsrefusal.h"

#include <openssl/rand.h>

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Read at once, and how often in one turn. */
#define READ_BYTES ((size_t)64 << 10)
#define READS_A_TURN 64
/* The payload of our pings, a number. */
#define PING_BYTES 8
/* For our answer to a Close, and for the server to hang up after it. */
#define CLOSE_WAIT_MS 1000
/* For the text of a refusal to follow its header. */
#define REFUSAL_WAIT_MS 250
/* Of outside text in a reason. */
#define EXCERPT_BYTES 200
#define WHY_BYTES 640

struct wslink {
	const struct wslink_options *options; /* borrowed */
	struct conn *conn;		      /* owned */
	char auth_why[AUTH_WHY_BYTES]; /* of the last reading; "": none */
	enum wslink_state state;
	int64_t until_ns; /* connecting, upgrading, closing: deadline */
	char key[WSHANDSHAKE_KEY_BYTES];
	struct wsframe_reader reader;
	struct buf in;
	struct wsqueue out;
	bool close_sent;
	bool is_deaf;	/* closing: what comes is dropped unread */
	bool is_faulty; /* the server broke the protocol */
	enum wslink_end end;
	unsigned code;		 /* of the server's Close; 0: none came */
	uint64_t retry_after_ms; /* as the server asked; 0: it did not */

	/* All of these count within one connection. */
	uint64_t messages;  /* queued */
	uint64_t confirmed; /* messages, from the first */
	uint64_t *ends;	    /* owned; out.queued_bytes behind a message, by
			     * number modulo WINDOW_EVENTS */

	struct wsping pings; /* of this connection */
	uint64_t ping_base;  /* random; what their numbers on the wire count
			      * from, so that no pong is ours by chance */
	bool is_probing;     /* a ping is asked for */

	bool owes_pong;
	uint8_t pong[WSFRAME_CONTROL_BYTES];
	size_t pong_bytes;

	char why[WHY_BYTES];
};

static int64_t
after_ms(uint64_t ms)
{
	return loop_now_ns() + (int64_t)ms * LOOP_NS_PER_MS;
}

static void set_why(struct wslink *link, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void
set_why(struct wslink *link, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(link->why, sizeof(link->why), format, args);
	va_end(args);
}

struct wslink *
wslink_new(const struct wslink_options *options)
{
	struct conn *conn = conn_new(&options->conn, &options->url);
	struct wslink *link;

	if (conn == NULL)
		return NULL;
	link = mem_calloc(1, sizeof(*link));
	link->options = options;
	link->conn = conn;
	link->state = WSLINK_DOWN;
	set_why(link, "not connected yet");
	link->ends = mem_calloc(WINDOW_EVENTS, sizeof(uint64_t));
	wsframe_reader_init(&link->reader);
	buf_init(&link->in, WSFRAME_READ_BYTES + READ_BYTES);
	wsqueue_init(&link->out);
	return link;
}

void
wslink_free(struct wslink *link)
{
	if (link == NULL)
		return;
	conn_free(link->conn);
	wsframe_reader_fini(&link->reader);
	buf_fini(&link->in);
	wsqueue_fini(&link->out);
	free(link->ends);
	free(link);
}

enum wslink_state
wslink_state(const struct wslink *link)
{
	return link->state;
}

const char *
wslink_why(const struct wslink *link)
{
	return link->why;
}

enum wslink_end
wslink_end(const struct wslink *link)
{
	return link->end;
}

unsigned
wslink_code(const struct wslink *link)
{
	return link->code;
}

uint64_t
wslink_retry_after_ms(const struct wslink *link)
{
	return link->retry_after_ms;
}

void
wslink_probe(struct wslink *link)
{
	link->is_probing = link->pings.pinged == 0;
}

bool
wslink_was_answered(const struct wslink *link)
{
	return link->pings.ponged > 0;
}

uint64_t
wslink_confirmed(const struct wslink *link)
{
	return link->confirmed;
}

bool
wslink_has_room(const struct wslink *link)
{
	return link->state == WSLINK_OPEN && !wsqueue_is_full(&link->out) &&
	       link->messages - link->confirmed < WINDOW_EVENTS;
}

/* The one place where the state changes. */
static void
enter(struct wslink *link, enum wslink_state state)
{
	static const char *const names[] = {
	    [WSLINK_DOWN] = "down",
	    [WSLINK_CONNECTING] = "connecting",
	    [WSLINK_UPGRADING] = "upgrading",
	    [WSLINK_OPEN] = "open",
	    [WSLINK_CLOSING] = "closing",
	};

	log_debug("connection %s, was %s", names[state], names[link->state]);
	link->state = state;
}

/* How the connection that is ending now came to its end. */
static enum wslink_end
end_of(const struct wslink *link)
{
	if (link->state == WSLINK_CONNECTING || link->state == WSLINK_UPGRADING)
		return WSLINK_END_NEVER_OPEN;
	if (link->code != 0)
		return WSLINK_END_CLOSED;
	if (link->is_faulty)
		return WSLINK_END_BROKEN;
	if (link->state == WSLINK_OPEN && conn_was_hung_up(link->conn))
		return WSLINK_END_HUNG_UP;
	return WSLINK_END_GIVEN_UP;
}

/* Drops the connection; the reason is set. */
static void
go_down(struct wslink *link)
{
	link->end = end_of(link);
	conn_stop(link->conn);
	enter(link, WSLINK_DOWN);
}

/* Drops the connection for what libcurl says. */
static void
go_down_by_conn(struct wslink *link, const char *what)
{
	char text[EXCERPT_BYTES];
	const char *why = conn_why(link->conn);

	set_why(link, "%s%s", what,
	    log_escape(text, sizeof(text), why, strlen(why)));
	go_down(link);
}

/* There are no random numbers, without which nothing may be sent. */
static void
go_down_unmasked(struct wslink *link)
{
	set_why(link, "no random numbers from OpenSSL");
	go_down(link);
}

/* Queues one frame. Returns false if that failed and the link is down. */
static bool
put_frame(struct wslink *link, enum wsframe_opcode opcode, const void *payload,
    size_t bytes)
{
	if (wsqueue_put(&link->out, opcode, payload, bytes) == 0)
		return true;
	go_down_unmasked(link);
	return false;
}

/* Queues our Close, unless it was sent, and gives the rest `wait_ms`. */
static void
start_closing(
    struct wslink *link, unsigned code, const char *reason, uint64_t wait_ms)
{
	if (link->close_sent)
		return;
	if (wsqueue_put_close(&link->out, code, reason) == -1) {
		go_down_unmasked(link);
		return;
	}
	link->close_sent = true;
	enter(link, WSLINK_CLOSING);
	link->until_ns = after_ms(wait_ms);
}

/* The server broke the protocol: tells it so, and hears no more. */
static void
refuse(struct wslink *link, unsigned code, const char *why)
{
	set_why(link, "the server broke the protocol: %s (%u)", why, code);
	link->is_faulty = true;
	start_closing(link, code, why, CLOSE_WAIT_MS);
	link->is_deaf = true;
}

void
wslink_close(struct wslink *link, unsigned code, uint64_t wait_ms)
{
	if (link->state == WSLINK_OPEN) {
		set_why(link, "closed by us");
		start_closing(link, code, "", wait_ms);
	} else if (link->state != WSLINK_CLOSING) {
		set_why(link, "stopped");
		go_down(link);
	}
}

/* Forgets the connection before. */
static void
reset(struct wslink *link)
{
	wsframe_reader_reset(&link->reader);
	buf_drop(&link->in, buf_bytes(&link->in));
	wsqueue_reset(&link->out);
	link->close_sent = false;
	link->is_deaf = false;
	link->is_faulty = false;
	link->code = 0;
	link->retry_after_ms = 0;
	link->is_probing = false;
	link->messages = 0;
	link->confirmed = 0;
	wsping_init(&link->pings, loop_now_ns());
	link->owes_pong = false;
}

/* Reads anew what may have changed in files. */
static void
refresh_auth(struct wslink *link)
{
	char why[AUTH_WHY_BYTES];

	if (auth_read(link->options->auth, why) == 0)
		why[0] = '\0';
	else if (strcmp(why, link->auth_why) != 0)
		log_warn("%s; what was read before is used", why);
	memcpy(link->auth_why, why, sizeof(link->auth_why));
}

void
wslink_dial(struct wslink *link)
{
	struct conn_user user;

	assert(link->state == WSLINK_DOWN);
	reset(link);
	link->until_ns = after_ms(link->options->conn.connect_timeout_ms);
	enter(link, WSLINK_CONNECTING);
	refresh_auth(link);
	user = (struct conn_user){
	    .name = link->options->auth->proxy_user,
	    .password = link->options->auth->proxy_password,
	};
	if (conn_start(link->conn, &user) == -1)
		go_down_by_conn(link, "");
}

/* Asks for the Upgrade on a connection that has just come up. */
static void
start_upgrade(struct wslink *link)
{
	struct wshandshake_request request = {
	    .host = link->options->url.host,
	    .target = link->options->url.target,
	    .protocols = link->options->protocols,
	    .headers = (const char *const *)link->options->auth->headers,
	    .header_count = link->options->auth->header_count,
	};
	uint8_t nonce[WSHANDSHAKE_NONCE_BYTES];

	if (RAND_bytes(nonce, sizeof(nonce)) != 1 ||
	    RAND_bytes((uint8_t *)&link->ping_base, sizeof(link->ping_base)) !=
		1) {
		go_down_unmasked(link);
		return;
	}
	wshandshake_key(link->key, nonce);
	if (wshandshake_put(&link->out.bytes, &request, link->key) == -1) {
		set_why(link, "the request is too long");
		go_down(link);
		return;
	}
	wsqueue_count(&link->out, buf_bytes(&link->out.bytes));
	enter(link, WSLINK_UPGRADING);
}

static void
open_up(struct wslink *link, const struct wshandshake_reply *reply)
{
	char text[EXCERPT_BYTES];

	if (reply->protocol != NULL)
		log_debug("subprotocol %s",
		    log_escape(text, sizeof(text), reply->protocol,
			reply->protocol_bytes));
	else if (link->options->protocols != NULL)
		log_warn("the server chose none of the subprotocols %s",
		    link->options->protocols);
	wsping_init(&link->pings, loop_now_ns());
	enter(link, WSLINK_OPEN);
}

/*
 * The response is no websocket's. A status that tells why has a text behind
 * it, which may come a moment later: waits for that.
 */
static void
take_refusal(
    struct wslink *link, const struct wshandshake_reply *reply, bool is_last)
{
	char text[WSREFUSAL_BYTES];
	const uint8_t *in = buf_front(&link->in);
	size_t n = buf_bytes(&link->in) - reply->head_bytes;
	int64_t until_ns = after_ms(REFUSAL_WAIT_MS);

	if (reply->status == 0 || reply->status == 101) {
		set_why(link, "the Upgrade failed: %s", reply->why);
		go_down(link);
		return;
	}
	if (n < WSREFUSAL_BODY_BYTES && !is_last) {
		if (until_ns < link->until_ns)
			link->until_ns = until_ns;
		return;
	}
	wsrefusal_tell(text, reply, in + reply->head_bytes, n);
	set_why(link, "the Upgrade was refused: %s", text);
	link->retry_after_ms = wsrefusal_wait_ms(reply, loop_realtime_ns());
	go_down(link);
}

/*
 * Looks at the response to the Upgrade. Returns whether frames follow.
 * `is_last`: no more of it will come.
 */
static bool
take_response(struct wslink *link, bool is_last)
{
	struct wshandshake_reply reply;

	switch (wshandshake_check(buf_front(&link->in), buf_bytes(&link->in),
	    link->key, link->options->protocols, &reply)) {
	case WSHANDSHAKE_READY:
		open_up(link, &reply);
		buf_drop(&link->in, reply.head_bytes);
		return true;
	case WSHANDSHAKE_REFUSED:
		take_refusal(link, &reply, is_last);
		break;
	case WSHANDSHAKE_PARTIAL:
		break;
	}
	return false;
}

/* A pong: ours, or nobody's. */
static void
take_pong(struct wslink *link, const struct wsframe_message *message)
{
	uint64_t messages;

	if (message->bytes != PING_BYTES ||
	    !wsping_answer(&link->pings,
		get_be64(message->payload) - link->ping_base, loop_now_ns(),
		&messages))
		return;
	if (link->options->ack == WSLINK_ACK_PONG)
		link->confirmed = messages;
}

/* A text in ack level app: an ack, or something that is not for us. */
static void
take_app_ack(struct wslink *link, const struct wsframe_message *message)
{
	struct msg msg;
	const char *why;

	msg.kind = MSG_UNKNOWN;
	if (msg_parse(message->payload, message->bytes, &msg, &why) == -1) {
		if (msg.kind == MSG_ACK)
			refuse(link, WSFRAME_PROTOCOL_ERROR, why);
		else
			log_debug("a text of the server is no ack: %s", why);
		return;
	}
	if (msg.kind != MSG_ACK)
		return;
	if (msg.n < link->confirmed || msg.n > link->messages) {
		refuse(link, WSFRAME_PROTOCOL_ERROR,
		    msg.n < link->confirmed ? "its ack falls"
					    : "it acks what was not sent");
		return;
	}
	link->confirmed = msg.n;
	wsping_heard(&link->pings, loop_now_ns());
}

static void
take_close(struct wslink *link, const struct wsframe_message *message)
{
	char reason[EXCERPT_BYTES];

	link->is_deaf = true;
	/* The answer to ours; the server hangs up next. */
	if (link->close_sent)
		return;
	link->code = message->code;
	if (message->code == WSFRAME_NO_CODE)
		set_why(link, "the server closed without a code");
	else
		set_why(link, "the server closed: %u \"%s\"", message->code,
		    log_escape(reason, sizeof(reason), message->payload,
			message->bytes));
	start_closing(link, message->code, "", CLOSE_WAIT_MS);
}

static void
take_message(struct wslink *link, const struct wsframe_message *message)
{
	switch (message->opcode) {
	case WSFRAME_TEXT:
		if (link->options->ack == WSLINK_ACK_APP)
			take_app_ack(link, message);
		break;
	case WSFRAME_PING:
		/* Only the newest need be answered (RFC 6455 5.5.3), so that
		 * a flood of them needs no queue. */
		memcpy(link->pong, message->payload, message->bytes);
		link->pong_bytes = message->bytes;
		link->owes_pong = true;
		break;
	case WSFRAME_PONG:
		take_pong(link, message);
		break;
	case WSFRAME_CLOSE:
		take_close(link, message);
		break;
	case WSFRAME_BINARY:
	case WSFRAME_CONTINUATION:
		break;
	}
}

/* Reads the frames that are there. */
static void
take_frames(struct wslink *link)
{
	struct wsframe_message message;
	struct wsframe_fault fault;
	enum wsframe_status status = WSFRAME_READY;
	size_t used;

	while (status == WSFRAME_READY && !link->is_deaf) {
		status = wsframe_read(&link->reader, buf_front(&link->in),
		    buf_bytes(&link->in), &message, &used, &fault);
		if (status == WSFRAME_BROKEN) {
			refuse(link, fault.code, fault.why);
			break;
		}
		if (status == WSFRAME_READY)
			take_message(link, &message);
		buf_drop(&link->in, used);
	}
	if (link->is_deaf)
		buf_drop(&link->in, buf_bytes(&link->in));
}

/* The connection is over; nothing more will come. */
static void
take_end(struct wslink *link)
{
	if (link->state == WSLINK_UPGRADING) {
		(void)take_response(link, true);
		if (link->state != WSLINK_DOWN)
			go_down_by_conn(link, "the Upgrade was not answered: ");
	} else if (link->state == WSLINK_CLOSING) {
		go_down(link);
	} else {
		go_down_by_conn(link, "");
	}
}

/* Reads what there is; libcurl may hold more than poll can see. */
static void
read_all(struct wslink *link)
{
	uint8_t *to;
	size_t n;

	for (int i = 0; i < READS_A_TURN && link->state != WSLINK_DOWN; i++) {
		to = buf_reserve(&link->in, READ_BYTES);
		assert(to != NULL);
		if (conn_recv(link->conn, to, READ_BYTES, &n) == -1) {
			take_end(link);
			return;
		}
		if (n == 0)
			return;
		buf_commit(&link->in, n);
		if (link->state != WSLINK_UPGRADING ||
		    take_response(link, false))
			take_frames(link);
	}
}

/* Notes what `bytes` written have completed. */
static void
count_written(struct wslink *link, size_t bytes)
{
	int64_t now = loop_now_ns();

	wsqueue_drop(&link->out, bytes, now);
	wsping_written(&link->pings, link->out.gone_bytes, now);
	/* What follows a Close of the server is read by nobody. */
	if (link->options->ack != WSLINK_ACK_WRITE || link->is_deaf)
		return;
	while (link->confirmed < link->messages &&
	       link->ends[(link->confirmed + 1) % WINDOW_EVENTS] <=
		   link->out.gone_bytes)
		link->confirmed++;
}

static void
write_out(struct wslink *link)
{
	const struct buf *out = &link->out.bytes;
	size_t n = 1;

	while (n > 0 && !wsqueue_is_empty(&link->out)) {
		if (conn_send(link->conn, buf_front(out), buf_bytes(out), &n) ==
		    -1) {
			/* Its last words, a Close say, tell more. */
			read_all(link);
			if (link->state != WSLINK_DOWN)
				take_end(link);
			return;
		}
		count_written(link, n);
	}
}

static int64_t
interval_ns(const struct wslink *link)
{
	return (int64_t)link->options->ping_interval_ms * LOOP_NS_PER_MS;
}

static int64_t
timeout_ns(const struct wslink *link)
{
	return (int64_t)link->options->ping_timeout_ms * LOOP_NS_PER_MS;
}

/* For how long nothing may be heard, with what is on its way now. */
static uint64_t
silence_ms(const struct wslink *link)
{
	return wsping_silence_ms(&link->pings, link->out.queued_bytes,
	    link->options->ping_timeout_ms);
}

/* When some of what waits must have been written. */
static int64_t
write_deadline_ns(const struct wslink *link)
{
	return wsqueue_deadline_ns(
	    &link->out, (int64_t)silence_ms(link) * LOOP_NS_PER_MS);
}

/* Queues a ping, if one is due. */
static void
put_ping(struct wslink *link)
{
	bool confirms = link->options->ack == WSLINK_ACK_PONG;
	int64_t now = loop_now_ns();
	uint8_t payload[PING_BYTES];

	if (!link->is_probing && !wsping_is_due(&link->pings, link->messages,
				     confirms, interval_ns(link), now))
		return;
	link->is_probing = false;
	put_be64(payload, link->ping_base + wsping_next_number(&link->pings));
	if (put_frame(link, WSFRAME_PING, payload, sizeof(payload)))
		(void)wsping_queue(
		    &link->pings, link->messages, link->out.queued_bytes, now);
}

void
wslink_send(struct wslink *link, const uint8_t *payload, size_t bytes)
{
	assert(wslink_has_room(link));
	if (!put_frame(link,
		link->options->is_binary ? WSFRAME_BINARY : WSFRAME_TEXT,
		payload, bytes))
		return;
	link->messages++;
	link->ends[link->messages % WINDOW_EVENTS] = link->out.queued_bytes;
	if (link->messages - link->pings.behind >= WSPING_STRIDE &&
	    wsping_has_room(&link->pings))
		put_ping(link);
}

bool
wslink_flush(struct wslink *link)
{
	if (link->state == WSLINK_OPEN && link->owes_pong &&
	    !wsqueue_is_full(&link->out) &&
	    put_frame(link, WSFRAME_PONG, link->pong, link->pong_bytes))
		link->owes_pong = false;
	if (link->state == WSLINK_OPEN)
		put_ping(link);
	if (link->state == WSLINK_OPEN)
		conn_allow_silence(link->conn, silence_ms(link));
	if (link->state > WSLINK_CONNECTING)
		write_out(link);
	return wsqueue_is_empty(&link->out);
}

void
wslink_watch(struct wslink *link, struct loop *loop)
{
	if (link->state == WSLINK_DOWN)
		return;
	conn_watch(link->conn, loop, !wsqueue_is_empty(&link->out));
	if (link->state != WSLINK_OPEN) {
		loop_until(loop, link->until_ns);
		return;
	}
	loop_until(loop, wsping_deadline_ns(&link->pings, timeout_ns(link)));
	loop_until(loop, write_deadline_ns(link));
	loop_until(loop, wsping_keepalive_ns(&link->pings, interval_ns(link)));
}

/* Ends a connection that is overdue in what it should do. */
static void
check_deadlines(struct wslink *link)
{
	int64_t now = loop_now_ns();

	if (link->state == WSLINK_OPEN &&
	    now >= wsping_deadline_ns(&link->pings, timeout_ns(link))) {
		set_why(link, "no pong within the ping timeout");
		go_down(link);
	} else if (link->state == WSLINK_OPEN &&
		   now >= write_deadline_ns(link)) {
		set_why(link, "the server reads nothing");
		go_down(link);
	}
	if (link->state == WSLINK_OPEN || link->state == WSLINK_DOWN ||
	    now < link->until_ns)
		return;
	if (link->state == WSLINK_CONNECTING)
		set_why(link, "not connected within the connect timeout");
	if (link->state == WSLINK_UPGRADING) {
		set_why(link, "the Upgrade was not answered in time");
		/* A refusal may be there whose text did not come. */
		(void)take_response(link, true);
	}
	if (link->state != WSLINK_DOWN)
		go_down(link);
}

void
wslink_turn(struct wslink *link, const struct loop *loop)
{
	if (link->state == WSLINK_DOWN)
		return;
	if (link->state == WSLINK_CONNECTING) {
		switch (conn_turn(link->conn, loop)) {
		case CONN_UP:
			start_upgrade(link);
			break;
		case CONN_DOWN:
			go_down_by_conn(link, "");
			break;
		case CONN_CONNECTING:
			break;
		}
	} else {
		(void)conn_turn(link->conn, loop);
		if (conn_is_readable(link->conn, loop))
			read_all(link);
	}
	check_deadlines(link);
}
