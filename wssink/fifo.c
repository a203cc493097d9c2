#include "wssink/fifo.h"

#include "stage/log.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Between looks, and until it is worth a line that nobody reads it. */
#define RETRY_NS (50 * LOOP_NS_PER_MS)
#define ODD_NS (2 * LOOP_NS_PER_S)

void
fifo_init(struct fifo *fifo, const char *path)
{
	int64_t now = loop_now_ns();

	*fifo = (struct fifo){
	    .path = path,
	    .fd = -1,
	    .next_ns = now,
	    .odd_ns = now + ODD_NS,
	};
}

void
fifo_fini(struct fifo *fifo)
{
	if (fifo->fd == -1)
		return;
	chan_fini(&fifo->chan);
	(void)close(fifo->fd);
	fifo->fd = -1;
}

bool
fifo_is_awaited(const struct fifo *fifo)
{
	return fifo->path != NULL && fifo->fd == -1;
}

/* Says what is wrong with what is there. */
static enum fifo_status
refuse(const struct fifo *fifo, const char *why)
{
	log_error("acks %s: %s", fifo->path, why);
	return FIFO_WRONG;
}

/* Finds out why it was not opened, as errno says. */
static enum fifo_status
take_failure(struct fifo *fifo)
{
	int error = errno;
	struct stat st;

	if ((error == ENXIO || error == EISDIR) && stat(fifo->path, &st) == 0 &&
	    !S_ISFIFO(st.st_mode))
		return refuse(fifo, "not a FIFO");
	if (error != ENOENT && error != ENXIO && error != EINTR) {
		errno = error;
		log_error("acks %s: %m", fifo->path);
		return FIFO_FAILED;
	}
	if (loop_now_ns() >= fifo->odd_ns) {
		log_warn("acks %s: nobody reads it yet", fifo->path);
		fifo->odd_ns = LOOP_NEVER;
	}
	return FIFO_SAME;
}

/* Takes what was opened. */
static enum fifo_status
take_fd(struct fifo *fifo, int fd)
{
	struct stat st;

	if (fstat(fd, &st) == -1 || !S_ISFIFO(st.st_mode))
		return refuse(fifo, "not a FIFO");
	if (flock(fd, LOCK_EX | LOCK_NB) == -1)
		return refuse(fifo, "another wssink writes it");
	fifo->fd = fd;
	chan_init(&fifo->chan, -1, FRAMING_LENGTH, fd, FRAMING_LENGTH);
	return FIFO_OPENED;
}

enum fifo_status
fifo_look(struct fifo *fifo)
{
	int64_t now = loop_now_ns();
	enum fifo_status status;
	int fd;

	if (!fifo_is_awaited(fifo) || now < fifo->next_ns)
		return FIFO_SAME;
	fifo->next_ns = now + RETRY_NS;
	fd = open(fifo->path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd == -1)
		return take_failure(fifo);
	status = take_fd(fifo, fd);
	if (status != FIFO_OPENED)
		(void)close(fd);
	return status;
}

void
fifo_watch(struct fifo *fifo, struct loop *loop)
{
	if (fifo->fd != -1)
		chan_watch(&fifo->chan, loop, false);
}

int
fifo_turn(struct fifo *fifo, const struct loop *loop)
{
	return fifo->fd == -1 ? 0 : chan_turn(&fifo->chan, loop);
}
