#include "walproc/inlet.h"

#include "stage/io.h"
#include "stage/mem.h"
#include "walproc/block.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct inlet *
inlet_new(const char *name)
{
	struct inlet *inlet = mem_calloc(1, sizeof(*inlet));

	(void)snprintf(inlet->name, sizeof(inlet->name), "%s", name);
	(void)snprintf(inlet->title, sizeof(inlet->title), "source%s%s",
	    name[0] == '\0' ? "" : " ", inlet->name);
	inlet->fd = -1;
	chan_init(&inlet->chan, -1, FRAMING_AUTO, -1, FRAMING_LENGTH);
	inlet->chan.in_ended = true;
	inlet->is_over = true;
	dead_part_init(&inlet->part);
	return inlet;
}

void
inlet_free(struct inlet *inlet)
{
	for (size_t i = 0; i < inlet->waiting_count; i++)
		(void)close(inlet->waiting[i].fd);
	dead_part_close(&inlet->part);
	chan_fini(&inlet->chan);
	if (inlet->fd > STDERR_FILENO)
		(void)close(inlet->fd);
	free(inlet);
}

bool
inlet_has_source(const struct inlet *inlet)
{
	return inlet->waiting_count > 0 ||
	       (!inlet->chan.in_ended && !inlet->chan.out_broken);
}

bool
inlet_is_done(const struct inlet *inlet)
{
	return inlet->is_over && inlet->waiting_count == 0;
}

bool
inlet_is_gone(const struct inlet *inlet)
{
	/* One that has only ended its output waits for its acks. */
	return inlet->is_leaving && inlet_is_done(inlet) &&
	       inlet->acked == inlet->taken;
}

/* Takes one of those that wait for their turn off the list. */
static struct inlet_source
take_waiting(struct inlet *inlet, size_t index)
{
	struct inlet_source source = inlet->waiting[index];

	inlet->waiting_count--;
	memmove(&inlet->waiting[index], &inlet->waiting[index + 1],
	    (inlet->waiting_count - index) * sizeof(source));
	return source;
}

/* Says whether a source has left without having sent anything. It may not have
 * read what it was told either, which is an error (ECONNRESET). */
static bool
is_empty(int fd)
{
	char byte;
	ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	return n == 0 || (n == -1 && errno != EAGAIN && errno != EINTR);
}

size_t
inlet_fds(const struct inlet *inlet)
{
	return inlet->waiting_count + (inlet->fd == -1 ? 0 : 1);
}

bool
inlet_is_empty(const struct inlet *inlet)
{
	for (size_t i = 0; i < inlet->waiting_count; i++)
		if (!is_empty(inlet->waiting[i].fd))
			return false;
	/* Of a long line all may be read, and not be a dead letter yet. */
	return inlet->is_over ||
	       (!inlet->is_skipping && buf_bytes(&inlet->chan.in) == 0 &&
		   is_empty(inlet->fd));
}

/* Makes room for one more to wait. */
static void
clear_waiting(struct inlet *inlet)
{
	for (size_t i = inlet->waiting_count; i > 0; i--)
		if (is_empty(inlet->waiting[i - 1].fd))
			(void)close(take_waiting(inlet, i - 1).fd);
	if (inlet->waiting_count < INLET_WAITING)
		return;
	log_error("%s: %d of them left before their events could be taken: "
		  "those of the first are lost",
	    inlet->title, INLET_WAITING);
	(void)close(take_waiting(inlet, 0).fd);
}

void
inlet_add(struct inlet *inlet, int fd)
{
	clear_waiting(inlet);
	inlet->waiting[inlet->waiting_count++] =
	    (struct inlet_source){.fd = fd};
}

/* Sends a message to a source whose stream has not begun. */
static void
send_ahead(int fd, const struct msg *msg)
{
	struct chan chan;

	chan_init(&chan, -1, FRAMING_LENGTH, fd, FRAMING_LENGTH);
	chan_send_msg(&chan, msg);
	/* Nothing else is in the socket: it has room. */
	(void)chan_push(&chan);
	chan_fini(&chan);
}

/* The newest that waits may live, and should not send what waits with it. */
static void
tell_waiting(struct walproc *walproc, struct inlet *inlet)
{
	struct inlet_source *newest;
	struct msg msg;

	if (inlet->waiting_count == 0 || walproc->block == WALPROC_TAKING)
		return;
	newest = &inlet->waiting[inlet->waiting_count - 1];
	if (newest->is_told)
		return;
	newest->is_told = true;
	block_put(walproc, &msg);
	send_ahead(newest->fd, &msg);
}

static int
begin(struct walproc *walproc, struct inlet *inlet)
{
	struct inlet_source next = take_waiting(inlet, 0);
	struct msg msg = {.kind = MSG_BREAKER_CLOSED};
	bool is_stopped = walproc->block != WALPROC_TAKING;

	if (io_replace(next.fd, &inlet->fd) == -1) {
		log_error("%s: dup2: %m", inlet->title);
		return -1;
	}
	chan_fini(&inlet->chan);
	chan_init(
	    &inlet->chan, inlet->fd, FRAMING_AUTO, inlet->fd, FRAMING_LENGTH);
	/* Its acks count what it sends, whatever sync they wait for. */
	inlet->before = inlet->taken;
	inlet->is_missed = false;
	inlet->is_over = false;
	if (is_stopped)
		block_put(walproc, &msg);
	/* From here on it hears what all do. */
	if (next.is_told != is_stopped)
		chan_send_msg(&inlet->chan, &msg);
	log_info("%s attached", inlet->title);
	return 0;
}

int
inlet_change(struct walproc *walproc, struct inlet *inlet)
{
	struct streams *streams = &walproc->streams;

	if (!streams_are_given(walproc))
		return 0;
	tell_waiting(walproc, inlet);
	if (!inlet->is_over)
		return 0;
	/* Also while the intake is stopped: what little room there is then at
	 * times is taken up by those that have begun. */
	if (inlet->waiting_count > 0)
		return begin(walproc, inlet);
	if (inlet->fd != -1 && !streams->is_last && !inlet->is_leaving &&
	    !inlet->is_missed) {
		log_info("%s left: waiting for the next", inlet->title);
		inlet->is_missed = true;
	}
	return 0;
}
