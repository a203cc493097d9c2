/*
 * The websocket server of the benchmark: counts the events that come and looks
 * at the number in each, so that none that is lost or comes twice goes unseen,
 * at a cost that leaves the machine to what is measured. It answers pings, and
 * serves one connection after the other.
 *
 *   bench_server [-n EVENTS] [-p PORT] [-l [-w EVENTS]]
 *
 * It prints `listening PORT`; `all` when all events have come; and, when the
 * client has left, its results. Behind `all` it does nothing, and answers no
 * ping, until standard input has a line or ends: until then nobody can take
 * the work for done and leave, and so all can be looked at. With -l it times
 * the way of each event, but for the first ones (-w), of which it only says
 * how long the slowest took. It takes any client at its word.
 */
#include "stage/bytes.h"
#include "t/bench_tools.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ_BYTES ((size_t)1 << 20)
#define ROOM_BYTES (2 * READ_BYTES)
#define KEY "Sec-WebSocket-Key: "
#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#define KEY_BYTES 24
#define TIMES_MAX ((uint64_t)1 << 24)

enum opcode {
	OPCODE_TEXT = 0x1,
	OPCODE_CLOSE = 0x8,
	OPCODE_PING = 0x9,
	OPCODE_PONG = 0xa,
};

struct server {
	uint64_t wanted;    /* events to come */
	uint64_t next;	    /* number of the next */
	uint64_t duplicate; /* that came again */
	uint64_t missing;   /* that did not come before later ones */
	uint64_t bytes;	    /* of all payloads */
	uint64_t warm_up;   /* first events that are not timed with the rest */
	int64_t first_ns;   /* when the first was read */
	int64_t last_ns;    /* when the last was */
	struct bench_place id, ingest_ns;
	int64_t *times; /* from the source to here, in ns; NULL: not asked */
	uint8_t in[ROOM_BYTES + 1];
	size_t start, end; /* what of it is not used yet */
	uint8_t out[READ_BYTES];
	size_t out_bytes;
};

static void
take_event(struct server *server, const uint8_t *event, size_t bytes)
{
	uint64_t id = bench_find_number(&server->id, event, bytes);
	struct timespec now;

	if (id < server->next) {
		server->duplicate++;
		return;
	}
	server->missing += id - server->next;
	if (server->times != NULL && id < TIMES_MAX) {
		(void)clock_gettime(CLOCK_REALTIME, &now);
		server->times[id] = (int64_t)now.tv_sec * 1000000000 +
				    now.tv_nsec -
				    (int64_t)bench_find_number(
					&server->ingest_ns, event, bytes);
	}
	server->bytes += bytes;
	server->next = id + 1;
}

/* Queues a control frame of a server's: without a mask. */
static void
put_control(struct server *server, unsigned opcode, const uint8_t *payload,
    size_t bytes)
{
	uint8_t *out = server->out + server->out_bytes;

	if (bytes > 125 || server->out_bytes + 2 + bytes > sizeof(server->out))
		bench_fail("a control frame", "too long");
	out[0] = (uint8_t)(0x80 | opcode);
	out[1] = (uint8_t)bytes;
	memcpy(out + 2, payload, bytes);
	server->out_bytes += 2 + bytes;
}

/* Takes the frames that are there. Returns false behind a Close. */
static bool
take_frames(struct server *server)
{
	struct bench_frame frame;

	while (bench_read_frame(
	    server->in + server->start, server->end - server->start, &frame)) {
		server->start += frame.frame_bytes;
		bench_mask(
		    frame.payload, frame.payload, frame.bytes, frame.mask);
		if (frame.opcode == OPCODE_TEXT) {
			take_event(server, frame.payload, frame.bytes);
		} else if (frame.opcode == OPCODE_PING) {
			put_control(
			    server, OPCODE_PONG, frame.payload, frame.bytes);
		} else if (frame.opcode == OPCODE_CLOSE) {
			put_control(
			    server, OPCODE_CLOSE, frame.payload, frame.bytes);
			return false;
		}
	}
	return true;
}

/* Reads what is there. Returns false at the end. */
static bool
fill(struct server *server, int fd)
{
	ssize_t n;

	if (server->end + READ_BYTES > ROOM_BYTES) {
		memmove(server->in, server->in + server->start,
		    server->end - server->start);
		server->end -= server->start;
		server->start = 0;
	}
	n = read(fd, server->in + server->end, READ_BYTES);
	if (n > 0)
		server->end += (size_t)n;
	return n > 0;
}

/* Answers the Upgrade. Returns false if the client left. */
static bool
shake_hands(struct server *server, int fd)
{
	uint8_t digest[EVP_MAX_MD_SIZE], text[EVP_MAX_MD_SIZE * 2];
	char key[KEY_BYTES + sizeof(GUID)], reply[256];
	const char *at, *end;
	unsigned bytes;

	do {
		if (!fill(server, fd))
			return false;
		end = memmem(server->in, server->end, "\r\n\r\n", 4);
	} while (end == NULL);
	at = memmem(server->in, server->end, KEY, strlen(KEY));
	if (at == NULL || end - at < (ptrdiff_t)(strlen(KEY) + KEY_BYTES))
		return false;
	(void)snprintf(
	    key, sizeof(key), "%.*s" GUID, KEY_BYTES, at + strlen(KEY));
	if (EVP_Digest(key, strlen(key), digest, &bytes, EVP_sha1(), NULL) != 1)
		return false;
	(void)EVP_EncodeBlock(text, digest, (int)bytes);
	(void)snprintf(reply, sizeof(reply),
	    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
	    "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
	    (const char *)text);
	bench_write(fd, reply, strlen(reply));
	server->start = (size_t)((const uint8_t *)end + 4 - server->in);
	return true;
}

/* Says that all have come, and waits until that was heard. */
static void
say_all(void)
{
	char c;

	(void)printf("all\n");
	(void)fflush(stdout);
	while (read(STDIN_FILENO, &c, 1) == 1 && c != '\n')
		continue;
}

/* Serves one connection to its end. */
static void
serve(struct server *server, int fd)
{
	bool is_open;

	server->start = server->end = server->out_bytes = 0;
	is_open = shake_hands(server, fd);
	while (is_open) {
		is_open = take_frames(server);
		if (server->next > 0 && server->first_ns == 0)
			server->first_ns = bench_now_ns();
		if (server->next == server->wanted && server->last_ns == 0) {
			server->last_ns = bench_now_ns();
			say_all();
		}
		bench_write(fd, server->out, server->out_bytes);
		server->out_bytes = 0;
		is_open = is_open && fill(server, fd);
	}
	(void)close(fd);
}

static void
print_latency(const struct server *server)
{
	uint64_t count = server->next < TIMES_MAX ? server->next : TIMES_MAX;
	int64_t slowest = 0;

	if (count <= server->warm_up)
		bench_fail("-w", "no event is left to be timed");
	for (uint64_t i = 0; i < server->warm_up; i++)
		if (server->times[i] > slowest)
			slowest = server->times[i];
	bench_print("latency_start_max_us", (double)slowest / 1000, "us");
	bench_print_times("latency", server->times + server->warm_up,
	    count - server->warm_up);
}

static void
print_results(const struct server *server)
{
	double ns = (double)(server->last_ns - server->first_ns);

	bench_print("events", (double)server->next, "events");
	bench_print("duplicate", (double)server->duplicate, "events");
	bench_print("missing", (double)server->missing, "events");
	bench_print("events_per_s", (double)server->next * 1e9 / ns, "1/s");
	bench_print("bytes_per_s", (double)server->bytes * 1e9 / ns, "B/s");
	if (server->times != NULL)
		print_latency(server);
}

int
main(int argc, char **argv)
{
	struct server *server = calloc(1, sizeof(*server));
	int option, listen_fd;
	uint16_t port = 0;

	if (server == NULL)
		bench_die("calloc");
	server->wanted = 1000000;
	server->id.key = "\"id\":";
	server->ingest_ns.key = "\"ingest_ns\":";
	while ((option = getopt(argc, argv, "n:p:lw:")) != -1) {
		if (option == 'n') {
			server->wanted = bench_number("-n", optarg, UINT32_MAX);
		} else if (option == 'p') {
			port = (uint16_t)bench_number("-p", optarg, UINT16_MAX);
		} else if (option == 'w') {
			server->warm_up = bench_number("-w", optarg, TIMES_MAX);
		} else if (option == 'l') {
			server->times =
			    calloc(TIMES_MAX, sizeof(server->times[0]));
			if (server->times == NULL)
				bench_die("calloc");
		} else {
			return 1;
		}
	}
	listen_fd = bench_listen(&port);
	(void)printf("listening %u\n", port);
	(void)fflush(stdout);
	while (server->next < server->wanted) {
		int fd = accept(listen_fd, NULL, NULL);

		if (fd == -1)
			bench_die("accept");
		serve(server, fd);
	}
	print_results(server);
	free(server->times);
	free(server);
	return 0;
}
