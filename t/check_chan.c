#include "stage/chan.h"
#include "t/suite.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static const int signals[] = {SIGUSR1};

static struct loop loop;
static int pair[2];   /* a socketpair */
static int ends[2];   /* a pipe: read end, write end */
static struct chan a; /* on pair[0] */
static struct chan b; /* on pair[1] */

static void
set_up(void)
{
	ck_assert_int_eq(loop_open(&loop, signals, COUNT(signals)), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	ck_assert_int_eq(pipe(ends), 0);
	chan_init(&a, pair[0], FRAMING_AUTO, pair[0], FRAMING_AUTO);
	chan_init(&b, pair[1], FRAMING_AUTO, pair[1], FRAMING_AUTO);
}

static void
tear_down(void)
{
	chan_fini(&a);
	chan_fini(&b);
	loop_close(&loop);
}

/* One turn of a loop that does not wait. */
static void
turn(struct chan *chan, bool reading)
{
	loop_begin(&loop);
	chan_watch(chan, &loop, reading);
	loop_until(&loop, 0);
	ck_assert_int_eq(loop_wait(&loop), 0);
	ck_assert_int_eq(chan_turn(chan, &loop), 0);
}

static void
put(int fd, const void *bytes, size_t n)
{
	ck_assert_int_eq(write(fd, bytes, n), (ssize_t)n);
}

static void
assert_partial(struct chan *chan)
{
	const uint8_t *payload;
	size_t n;

	ck_assert_int_eq(chan_next(chan, &payload, &n), FRAME_PARTIAL);
}

/* Takes the next event, which is `wanted`. */
static void
assert_next(struct chan *chan, const char *wanted)
{
	const uint8_t *payload = NULL;
	size_t n = 0;

	ck_assert_int_eq(chan_next(chan, &payload, &n), FRAME_READY);
	ck_assert_uint_eq(n, strlen(wanted));
	ck_assert_mem_eq(payload, wanted, n);
	chan_drop(chan);
}

/* Lets b read from a until the frame at the front is whole or too long. */
static enum frame_status
carry(const uint8_t **payload, size_t *n)
{
	enum frame_status status;

	while ((status = chan_next(&b, payload, n)) == FRAME_PARTIAL) {
		turn(&a, false);
		turn(&b, true);
	}
	return status;
}

START_TEST(test_framing_written_follows_the_descriptor)
{
	static const struct {
		bool is_socket;
		enum framing asked, wanted;
	} table[] = {
	    {true, FRAMING_AUTO, FRAMING_LENGTH},
	    {true, FRAMING_NDJSON, FRAMING_NDJSON},
	    {false, FRAMING_AUTO, FRAMING_NDJSON},
	    {false, FRAMING_LENGTH, FRAMING_LENGTH},
	};
	struct chan c;

	for (size_t i = 0; i < COUNT(table); i++) {
		chan_init(&c, -1, FRAMING_AUTO,
		    table[i].is_socket ? pair[0] : ends[1], table[i].asked);
		ck_assert_int_eq(c.out_framing, table[i].wanted);
		chan_fini(&c);
	}
}
END_TEST

/* The stream with these bytes, one at a time, has the event 12 and no more
 * until the last byte has come. */
static void
assert_bytewise(const char *wire, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		assert_partial(&b);
		put(pair[0], wire + i, 1);
		turn(&b, true);
	}
	assert_next(&b, "12");
	assert_partial(&b);
}

START_TEST(test_length_framing_byte_by_byte)
{
	assert_bytewise("\0\0\0\00212", 6);
	assert_bytewise("\0\0\0\00212", 6);
	ck_assert_int_eq(b.in_framing, FRAMING_LENGTH);
}
END_TEST

START_TEST(test_ndjson_byte_by_byte)
{
	assert_bytewise("12\n", 3);
	assert_bytewise("12\r\n", 4);
	ck_assert_int_eq(b.in_framing, FRAMING_NDJSON);
}
END_TEST

/* A framing that was asked for is not guessed anew. */
START_TEST(test_framing_asked_for_is_kept)
{
	const uint8_t *payload;
	struct chan c;
	size_t n;

	chan_init(&c, pair[1], FRAMING_LENGTH, -1, FRAMING_AUTO);
	put(pair[0], "12\n", 3);
	turn(&c, true);
	ck_assert_int_eq(chan_next(&c, &payload, &n), FRAME_TOO_LONG);
	chan_fini(&c);
}
END_TEST

START_TEST(test_many_events_in_one_read)
{
	put(pair[0], "1\n\n22\r\n333\n4", 12);
	turn(&b, true);
	assert_next(&b, "1");
	assert_next(&b, "");
	assert_next(&b, "22");
	assert_next(&b, "333");
	assert_partial(&b);
}
END_TEST

START_TEST(test_last_line_needs_no_newline)
{
	static const struct {
		const char *wire;
		const char *last; /* NULL: nothing follows the first */
	} table[] = {
	    {"1\n22", "22"},
	    {"1\n22\n", "22"},
	    {"1\n", NULL},
	};

	for (size_t i = 0; i < COUNT(table); i++) {
		struct chan c;
		int fds[2];

		ck_assert_int_eq(pipe(fds), 0);
		chan_init(&c, fds[0], FRAMING_AUTO, -1, FRAMING_AUTO);
		put(fds[1], table[i].wire, strlen(table[i].wire));
		(void)close(fds[1]);
		while (!c.in_ended)
			turn(&c, true);
		assert_next(&c, "1");
		if (table[i].last != NULL)
			assert_next(&c, table[i].last);
		assert_partial(&c);
		chan_fini(&c);
	}
}
END_TEST

/* A line that was partial is whole once the input has ended, taken or not. */
START_TEST(test_last_line_is_not_starved)
{
	const uint8_t *payload;
	struct chan c;
	size_t n;

	chan_init(&c, ends[0], FRAMING_AUTO, -1, FRAMING_AUTO);
	put(ends[1], "22", 2);
	turn(&c, true);
	assert_partial(&c);
	ck_assert(c.in_starved);
	(void)close(ends[1]);
	while (!c.in_ended)
		turn(&c, true);
	ck_assert_int_eq(chan_next(&c, &payload, &n), FRAME_READY);
	ck_assert(!c.in_starved);
	chan_drop(&c);
	assert_partial(&c);
	ck_assert(c.in_starved);
	chan_fini(&c);
}
END_TEST

START_TEST(test_end_within_a_frame_gives_no_event)
{
	put(pair[0], "\0\0\0\003ab", 6);
	(void)close(pair[0]);
	while (!b.in_ended)
		turn(&b, true);
	assert_partial(&b);
	ck_assert_uint_eq(buf_bytes(&b.in), 6);
}
END_TEST

START_TEST(test_end_of_an_empty_stream)
{
	(void)shutdown(pair[0], SHUT_WR);
	while (!b.in_ended)
		turn(&b, true);
	assert_partial(&b);
	ck_assert(!b.out_broken);
}
END_TEST

/* Sends one event of `n` bytes from a to b in the given framing. */
static enum frame_status
send_large(enum framing framing, size_t n)
{
	uint8_t *event = malloc(n);
	const uint8_t *payload;
	enum frame_status status;
	size_t got;

	for (size_t i = 0; i < n; i++)
		event[i] = (uint8_t)('a' + i * 31 % 26);
	a.out_framing = framing;
	ck_assert_int_eq(chan_send(&a, event, n), 0);
	status = carry(&payload, &got);
	if (status == FRAME_READY) {
		ck_assert_uint_eq(got, n);
		ck_assert_int_eq(memcmp(payload, event, n), 0);
		chan_drop(&b);
	}
	free(event);
	return status;
}

START_TEST(test_events_of_any_size_up_to_the_cap)
{
	static const size_t sizes[] = {0, 1, PIPE_BUF, CHAN_READ_BYTES - 4,
	    CHAN_READ_BYTES, CHAN_READ_BYTES + 1, 1 << 20, FRAME_MAX_BYTES - 1,
	    FRAME_MAX_BYTES};
	enum framing framing = _i == 0 ? FRAMING_LENGTH : FRAMING_NDJSON;

	for (size_t i = 0; i < COUNT(sizes); i++)
		ck_assert_int_eq(send_large(framing, sizes[i]), FRAME_READY);
}
END_TEST

/* What is over the cap is taken in pieces, and the next event is whole. */
START_TEST(test_line_over_the_cap_is_taken_in_pieces)
{
	const uint8_t *piece;
	size_t n, total = 0;
	bool ended = false;

	ck_assert_int_eq(
	    send_large(FRAMING_NDJSON, FRAME_MAX_BYTES + 1000), FRAME_TOO_LONG);
	ck_assert_int_eq(chan_send(&a, (const uint8_t *)"next", 4), 0);
	while (!ended) {
		turn(&a, false);
		turn(&b, true);
		ended = chan_next_piece(&b, &piece, &n);
		total += n;
		chan_drop(&b);
	}
	ck_assert_uint_eq(total, FRAME_MAX_BYTES + 1000);
	ck_assert_int_eq(carry(&piece, &n), FRAME_READY);
	assert_next(&b, "next");
}
END_TEST

START_TEST(test_pieces_of_a_length_stream_never_end)
{
	const uint8_t *piece;
	size_t n;

	put(pair[0], "\0\0\0\377a\nb", 7);
	turn(&b, true);
	ck_assert(!chan_next_piece(&b, &piece, &n));
	ck_assert_uint_eq(n, 7);
	chan_drop(&b);
	ck_assert(!chan_next_piece(&b, &piece, &n));
	ck_assert_uint_eq(n, 0);
}
END_TEST

/* A stage that takes no event does not read on for ever. */
START_TEST(test_read_ahead_is_bounded)
{
	static const uint8_t event[1000] = {'1'};

	for (int i = 0; i < 5000; i++) {
		while (buf_bytes(&a.out) < CHAN_READ_BYTES)
			ck_assert_int_eq(
			    chan_send(&a, event, sizeof(event)), 0);
		turn(&a, false);
		turn(&b, true);
	}
	ck_assert_uint_le(buf_bytes(&b.in), 2 * CHAN_READ_BYTES);
}
END_TEST

START_TEST(test_nothing_is_read_unless_asked)
{
	put(pair[0], "1\n", 2);
	turn(&b, false);
	ck_assert_uint_eq(buf_bytes(&b.in), 0);
	turn(&b, true);
	ck_assert_uint_eq(buf_bytes(&b.in), 2);
}
END_TEST

START_TEST(test_full_queue_takes_nothing_and_keeps_what_it_has)
{
	uint8_t *event = calloc(1, FRAME_MAX_BYTES);
	size_t queued;

	ck_assert_int_eq(chan_send(&a, event, FRAME_MAX_BYTES), 0);
	queued = buf_bytes(&a.out);
	ck_assert_int_eq(chan_send(&a, event, 2 * CHAN_READ_BYTES), -1);
	ck_assert_uint_eq(buf_bytes(&a.out), queued);
	free(event);
}
END_TEST

/* The last events arrive along with the hang-up. */
START_TEST(test_peer_that_leaves_leaves_its_events)
{
	ck_assert_int_eq(chan_send(&a, (const uint8_t *)"1", 1), 0);
	ck_assert_int_eq(chan_push(&a), 0);
	ck_assert(chan_is_flushed(&a));
	(void)close(pair[0]);
	while (!b.in_ended)
		turn(&b, true);
	ck_assert(b.out_broken);
	assert_next(&b, "1");
	assert_partial(&b);
}
END_TEST

/* A peer that left with our bytes unread resets; that is an end like others. */
START_TEST(test_peer_that_leaves_without_reading)
{
	put(pair[1], "unread", 6);
	(void)close(pair[0]);
	for (int i = 0; i < 3; i++)
		turn(&b, true);
	ck_assert(b.in_ended);
	ck_assert(b.out_broken);
}
END_TEST

START_TEST(test_peer_that_left_shows_while_nothing_is_read)
{
	(void)close(pair[0]);
	turn(&b, false);
	ck_assert(b.out_broken);
	ck_assert(!b.in_ended);
}
END_TEST

START_TEST(test_bytes_for_a_peer_that_left_are_dropped)
{
	(void)close(pair[0]);
	ck_assert_int_eq(chan_send(&b, (const uint8_t *)"1", 1), 0);
	ck_assert(!chan_is_flushed(&b));
	ck_assert_int_eq(chan_push(&b), 0);
	ck_assert(b.out_broken);
	ck_assert(chan_is_flushed(&b));
	ck_assert_uint_eq(buf_bytes(&b.out), 0);
}
END_TEST

START_TEST(test_reader_of_a_pipe_that_leaves)
{
	struct chan c;

	chan_init(&c, -1, FRAMING_AUTO, ends[1], FRAMING_AUTO);
	turn(&c, true);
	ck_assert(!c.out_broken);
	(void)close(ends[0]);
	turn(&c, true);
	ck_assert(c.out_broken);
	chan_fini(&c);
}
END_TEST

START_TEST(test_no_descriptors_is_a_peer_that_left)
{
	struct chan c;
	struct msg msg = {.kind = MSG_ACK};

	chan_init(&c, -1, FRAMING_AUTO, -1, FRAMING_AUTO);
	ck_assert(c.in_ended && c.out_broken);
	chan_send_msg(&c, &msg);
	ck_assert(chan_is_flushed(&c));
	turn(&c, true);
	assert_partial(&c);
	chan_fini(&c);
}
END_TEST

/* The pipe is blocking, and nobody reads: no turn may block, and what has
 * arrived after each of them is whole lines. */
START_TEST(test_pipe_gets_whole_lines_and_never_blocks)
{
	static uint8_t line[3000];
	static uint8_t got[1 << 17];
	struct chan c;
	size_t sent = 0;
	ssize_t n;

	chan_init(&c, -1, FRAMING_AUTO, ends[1], FRAMING_AUTO);
	memset(line, 'x', sizeof(line));
	for (size_t i = 0; i < 400; i++)
		ck_assert_int_eq(chan_send(&c, line, i * 37 % sizeof(line)), 0);
	while (sent != buf_bytes(&c.out)) {
		sent = buf_bytes(&c.out);
		turn(&c, true);
	}
	ck_assert(!chan_is_flushed(&c));
	n = read(ends[0], got, sizeof(got));
	ck_assert_int_gt(n, PIPE_BUF);
	ck_assert_int_eq(got[n - 1], '\n');
	chan_fini(&c);
}
END_TEST

START_TEST(test_line_longer_than_a_pipe_takes_at_once)
{
	static uint8_t line[3 * PIPE_BUF];
	static uint8_t got[4 * PIPE_BUF];
	struct chan c;
	ssize_t n;

	chan_init(&c, -1, FRAMING_AUTO, ends[1], FRAMING_AUTO);
	memset(line, 'x', sizeof(line));
	ck_assert_int_eq(chan_send(&c, line, sizeof(line)), 0);
	ck_assert_int_eq(chan_send(&c, line, 1), 0);
	while (!chan_is_flushed(&c))
		turn(&c, true);
	n = read(ends[0], got, sizeof(got));
	ck_assert_int_eq(n, (ssize_t)sizeof(line) + 3);
	ck_assert_mem_eq(got + sizeof(line), "\nx\n", 3);
	chan_fini(&c);
}
END_TEST

/* What a peer sent before it left is pulled, then its end. */
START_TEST(test_pull_takes_all_that_is_there)
{
	ck_assert_int_eq(chan_pull(&b), 0);
	ck_assert(!b.in_ended);
	put(pair[0], "1\n", 2);
	ck_assert_int_eq(chan_pull(&b), 0);
	assert_next(&b, "1");
	assert_partial(&b);
	put(pair[0], "2\n", 2);
	(void)close(pair[0]);
	ck_assert_int_eq(chan_pull(&b), 0);
	ck_assert(b.in_ended);
	assert_next(&b, "2");
}
END_TEST

START_TEST(test_pull_is_bounded_and_leaves_a_pipe)
{
	static const uint8_t event[CHAN_READ_BYTES] = {'1'};
	struct chan c;

	for (int i = 0; i < 100; i++) {
		if (chan_is_flushed(&a))
			ck_assert_int_eq(
			    chan_send(&a, event, sizeof(event)), 0);
		ck_assert_int_eq(chan_push(&a), 0);
		ck_assert_int_eq(chan_pull(&b), 0);
	}
	ck_assert_uint_ge(buf_bytes(&b.in), CHAN_READ_BYTES);
	ck_assert_uint_lt(buf_bytes(&b.in), 2 * CHAN_READ_BYTES);

	put(ends[1], "1\n", 2);
	chan_init(&c, ends[0], FRAMING_AUTO, -1, FRAMING_AUTO);
	ck_assert_int_eq(chan_pull(&c), 0);
	ck_assert_uint_eq(buf_bytes(&c.in), 0);
	chan_fini(&c);
}
END_TEST

START_TEST(test_push_leaves_a_pipe_to_its_turn)
{
	struct chan c;

	chan_init(&c, -1, FRAMING_AUTO, ends[1], FRAMING_AUTO);
	ck_assert_int_eq(chan_send(&c, (const uint8_t *)"1", 1), 0);
	ck_assert_int_eq(chan_push(&c), 0);
	ck_assert(!chan_is_flushed(&c));
	turn(&c, true);
	ck_assert(chan_is_flushed(&c));
	chan_fini(&c);
}
END_TEST

START_TEST(test_push_stops_where_a_socket_is_full)
{
	static const uint8_t event[1 << 20] = {'1'};

	ck_assert_int_eq(chan_send(&a, event, sizeof(event)), 0);
	ck_assert_int_eq(chan_push(&a), 0);
	ck_assert(!chan_is_flushed(&a));
	ck_assert_uint_lt(buf_bytes(&a.out), sizeof(event));
	ck_assert(!a.out_broken);
}
END_TEST

/* Neither slot 0, where the signals are, nor a slot of a turn that is over
 * makes a peer read: from this empty pipe it would never return. */
START_TEST(test_the_memory_of_a_long_event_is_given_back)
{
	static const uint8_t event[4 << 20] = {'1'};
	static uint8_t got[1 << 16];
	size_t count = 0;

	ck_assert_int_eq(chan_send(&a, event, sizeof(event)), 0);
	while (count < FRAME_HEADER_BYTES + sizeof(event)) {
		ssize_t n;

		ck_assert_uint_gt(a.out.room, CHAN_KEEP_BYTES);
		ck_assert_int_eq(chan_push(&a), 0);
		n = read(pair[1], got, sizeof(got));
		ck_assert_int_gt(n, 0);
		count += (size_t)n;
		if (chan_is_flushed(&a))
			break;
	}
	ck_assert(chan_is_flushed(&a));
	ck_assert_uint_le(a.out.room, CHAN_KEEP_BYTES);
	ck_assert_int_eq(chan_send(&a, event, 1), 0);
	ck_assert_int_eq(chan_push(&a), 0);
	ck_assert(chan_is_flushed(&a));
	ck_assert_uint_gt(a.out.room, 0);
}
END_TEST

START_TEST(test_turn_without_a_watch_does_nothing)
{
	struct chan c;

	chan_init(&c, ends[0], FRAMING_AUTO, -1, FRAMING_AUTO);
	ck_assert_int_eq(raise(SIGUSR1), 0);
	loop_begin(&loop);
	ck_assert_int_eq(loop_wait(&loop), 0);
	ck_assert_int_eq(chan_turn(&c, &loop), 0);

	turn(&c, true);
	loop_begin(&loop);
	(void)loop_watch(&loop, pair[0], POLLOUT);
	(void)loop_watch(&loop, pair[1], POLLOUT);
	ck_assert_int_eq(loop_wait(&loop), 0);
	ck_assert_int_eq(chan_turn(&c, &loop), 0);
	chan_fini(&c);
}
END_TEST

START_TEST(test_descriptor_that_fails)
{
	int full = open("/dev/full", O_WRONLY), dir = open("/", O_RDONLY);
	struct chan c;

	chan_init(&c, dir, FRAMING_AUTO, full, FRAMING_AUTO);
	loop_begin(&loop);
	chan_watch(&c, &loop, true);
	ck_assert_int_eq(loop_wait(&loop), 0);
	ck_assert_int_eq(chan_turn(&c, &loop), -1);
	ck_assert_int_eq(errno, EISDIR);

	ck_assert_int_eq(chan_send(&c, (const uint8_t *)"1", 1), 0);
	loop_begin(&loop);
	chan_watch(&c, &loop, false);
	ck_assert_int_eq(loop_wait(&loop), 0);
	ck_assert_int_eq(chan_turn(&c, &loop), -1);
	ck_assert_int_eq(errno, ENOSPC);
	chan_fini(&c);
}
END_TEST

START_TEST(test_messages_arrive_as_they_were_sent)
{
	static const struct msg table[] = {
	    {.kind = MSG_ACK, .n = 1},
	    {.kind = MSG_BREAKER_OPEN, .reason = "full"},
	    {.kind = MSG_REJECT, .n = 2, .reason = "too big"},
	    {.kind = MSG_BREAKER_CLOSED},
	};
	const char *why;
	struct msg msg;

	for (size_t i = 0; i < COUNT(table); i++)
		chan_send_msg(&a, &table[i]);
	ck_assert_int_eq(chan_push(&a), 0);
	turn(&b, true);
	for (size_t i = 0; i < COUNT(table); i++) {
		ck_assert_int_eq(chan_next_msg(&b, &msg, &why), FRAME_READY);
		ck_assert_int_eq(msg.kind, table[i].kind);
		ck_assert_uint_eq(msg.n, table[i].n);
		ck_assert_str_eq(msg.reason, table[i].reason);
	}
	ck_assert_int_eq(chan_next_msg(&b, &msg, &why), FRAME_PARTIAL);
}
END_TEST

/* Messages have `length` framing where events go as lines, too. */
START_TEST(test_messages_are_framed_whatever_events_are)
{
	struct msg msg = {.kind = MSG_BREAKER_CLOSED};
	uint8_t got[64];

	a.out_framing = FRAMING_NDJSON;
	chan_send_msg(&a, &msg);
	ck_assert_int_eq(chan_push(&a), 0);
	ck_assert_int_eq(read(pair[1], got, sizeof(got)), 24);
	ck_assert_mem_eq(got, "\0\0\0\024{\"breaker\":\"closed\"}", 24);
}
END_TEST

START_TEST(test_what_is_no_message_is_refused_with_a_reason)
{
	static const struct {
		const char *wire;
		size_t n;
	} table[] = {
	    {"{\"ack\":1}\n", 10},
	    {"\0\0\0\0", 4},
	    {"\0\0\0\0011", 5},
	    {"\0\0\0\011{\"ack\":-}", 13},
	    {"\0\0\0\012{\"ack\":-1}", 14},
	    /* Refused by its header: not one byte of it is waited for. */
	    {"\0\0\x08\x01", 4},
	    {"\0\xff\xff\xff", 4},
	    {"\xff", 1},
	};

	for (size_t i = 0; i < COUNT(table); i++) {
		const char *why = NULL;
		struct msg msg;
		struct chan c;
		int fds[2];

		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
		chan_init(&c, fds[0], FRAMING_LENGTH, fds[0], FRAMING_AUTO);
		put(fds[1], table[i].wire, table[i].n);
		turn(&c, true);
		ck_assert_int_eq(chan_next_msg(&c, &msg, &why), FRAME_TOO_LONG);
		ck_assert_ptr_nonnull(why);
		chan_fini(&c);
		(void)close(fds[0]);
		(void)close(fds[1]);
	}
}
END_TEST

START_TEST(test_longest_message_is_waited_for)
{
	uint8_t wire[FRAME_HEADER_BYTES + MSG_MAX_BYTES];
	const char *why;
	struct msg msg;

	memset(wire, ' ', sizeof(wire));
	frame_put_header(wire, MSG_MAX_BYTES);
	memcpy(wire + FRAME_HEADER_BYTES, "{\"ack\":1}", 9);
	put(pair[0], wire, sizeof(wire) - 1);
	turn(&b, true);
	ck_assert_int_eq(chan_next_msg(&b, &msg, &why), FRAME_PARTIAL);
	put(pair[0], " ", 1);
	turn(&b, true);
	ck_assert_int_eq(chan_next_msg(&b, &msg, &why), FRAME_READY);
	ck_assert_uint_eq(msg.n, 1);
}
END_TEST

/* Nobody reads the messages: the peer counts as gone, and memory is bounded. */
START_TEST(test_unread_messages_are_bounded)
{
	struct msg msg = {.kind = MSG_ACK, .n = 1};

	while (!a.out_broken)
		chan_send_msg(&a, &msg);
	ck_assert_uint_le(buf_bytes(&a.out), CHAN_MAX_BYTES);
	ck_assert_uint_gt(buf_bytes(&a.out), CHAN_MAX_BYTES - 64);
}
END_TEST

/* However the bytes are cut on their way, the events are the same. */
START_TEST(test_events_cut_at_random)
{
	int sent = 0, taken = 0, flight = 0;
	char text[32];

	srand((unsigned)_i + 1);
	a.out_framing = _i % 2 == 0 ? FRAMING_LENGTH : FRAMING_NDJSON;
	while (taken < 3000) {
		const uint8_t *payload;
		size_t n;

		if (sent < 3000 && flight < 500 && rand() % 3 > 0) {
			n = (size_t)sprintf(text, "%0*d", sent % 20 + 1, sent);
			ck_assert_int_eq(
			    chan_send(&a, (const uint8_t *)text, n), 0);
			sent++;
			flight++;
		}
		n = (size_t)rand() % (buf_bytes(&a.out) + 1);
		put(pair[0], buf_front(&a.out), n);
		buf_drop(&a.out, n);
		turn(&b, true);
		while (rand() % 10 > 0 &&
		       chan_next(&b, &payload, &n) == FRAME_READY) {
			(void)sprintf(text, "%0*d", taken % 20 + 1, taken);
			assert_next(&b, text);
			taken++;
			flight--;
		}
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("chan");
	TCase *tests = tcase_create("chan");

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 600);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, test_framing_written_follows_the_descriptor);
	tcase_add_test(tests, test_length_framing_byte_by_byte);
	tcase_add_test(tests, test_ndjson_byte_by_byte);
	tcase_add_test(tests, test_framing_asked_for_is_kept);
	tcase_add_test(tests, test_many_events_in_one_read);
	tcase_add_test(tests, test_last_line_needs_no_newline);
	tcase_add_test(tests, test_last_line_is_not_starved);
	tcase_add_test(tests, test_end_within_a_frame_gives_no_event);
	tcase_add_test(tests, test_end_of_an_empty_stream);
	tcase_add_loop_test(tests, test_events_of_any_size_up_to_the_cap, 0, 2);
	tcase_add_test(tests, test_line_over_the_cap_is_taken_in_pieces);
	tcase_add_test(tests, test_pieces_of_a_length_stream_never_end);
	tcase_add_test(tests, test_read_ahead_is_bounded);
	tcase_add_test(tests, test_nothing_is_read_unless_asked);
	tcase_add_test(
	    tests, test_full_queue_takes_nothing_and_keeps_what_it_has);
	tcase_add_test(tests, test_peer_that_leaves_leaves_its_events);
	tcase_add_test(tests, test_peer_that_leaves_without_reading);
	tcase_add_test(tests, test_peer_that_left_shows_while_nothing_is_read);
	tcase_add_test(tests, test_bytes_for_a_peer_that_left_are_dropped);
	tcase_add_test(tests, test_reader_of_a_pipe_that_leaves);
	tcase_add_test(tests, test_no_descriptors_is_a_peer_that_left);
	tcase_add_test(tests, test_pipe_gets_whole_lines_and_never_blocks);
	tcase_add_test(tests, test_line_longer_than_a_pipe_takes_at_once);
	tcase_add_test(tests, test_pull_takes_all_that_is_there);
	tcase_add_test(tests, test_pull_is_bounded_and_leaves_a_pipe);
	tcase_add_test(tests, test_push_leaves_a_pipe_to_its_turn);
	tcase_add_test(tests, test_push_stops_where_a_socket_is_full);
	tcase_add_test(tests, test_the_memory_of_a_long_event_is_given_back);
	tcase_add_test(tests, test_turn_without_a_watch_does_nothing);
	tcase_add_test(tests, test_descriptor_that_fails);
	tcase_add_test(tests, test_messages_arrive_as_they_were_sent);
	tcase_add_test(tests, test_messages_are_framed_whatever_events_are);
	tcase_add_test(tests, test_what_is_no_message_is_refused_with_a_reason);
	tcase_add_test(tests, test_longest_message_is_waited_for);
	tcase_add_test(tests, test_unread_messages_are_bounded);
	tcase_add_loop_test(tests, test_events_cut_at_random, 0, 8);
	return suite_run(suite);
}
