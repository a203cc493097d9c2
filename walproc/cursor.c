#include "walproc/cursor.h"

#include "stage/io.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Reads one slot; a short file reads as a bad slot. Sets *has_bytes unless all
 * of it is zero. */
static enum cursor_status
read_slot(
    int fd, unsigned int index, struct layout_cursor *slot, bool *has_bytes)
{
	uint8_t raw[LAYOUT_CURSOR_BYTES] = {0};
	ssize_t n =
	    io_pread_full(fd, raw, sizeof(raw), index * LAYOUT_CURSOR_OFFSET);

	/* What is lost where a slot cannot be read is only a hint. */
	if (n == -1 && io_is_unreadable(errno)) {
		*has_bytes = true;
		return CURSOR_NONE;
	}
	if (n == -1)
		return CURSOR_ERROR;
	for (size_t i = 0; i < sizeof(raw); i++)
		*has_bytes = *has_bytes || raw[i] != 0;
	switch (layout_get_cursor(raw, slot)) {
	case LAYOUT_OK:
		return CURSOR_OK;
	case LAYOUT_NEWER:
		return CURSOR_NEWER;
	case LAYOUT_BAD:
		break;
	}
	return CURSOR_NONE;
}

static enum cursor_status
read_slots(struct cursor *cursor, bool *lost)
{
	enum cursor_status best = CURSOR_NONE;
	bool has_bytes = false;

	for (unsigned int i = 0; i < 2; i++) {
		struct layout_cursor slot;
		enum cursor_status status =
		    read_slot(cursor->fd, i, &slot, &has_bytes);

		if (status == CURSOR_ERROR || status == CURSOR_NEWER)
			return status;
		if (status == CURSOR_NONE)
			continue;
		if (best == CURSOR_NONE ||
		    slot.generation > cursor->slot.generation) {
			cursor->slot = slot;
			cursor->place = i;
		}
		best = CURSOR_OK;
	}
	*lost = best == CURSOR_NONE && has_bytes;
	return best;
}

enum cursor_status
cursor_open(struct cursor *cursor, int dir_fd, const char *name, bool *lost)
{
	enum cursor_status status;
	int saved;

	*cursor = (struct cursor){.fd = -1};
	*lost = false;
	cursor->fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (cursor->fd == -1)
		return CURSOR_ERROR;
	/* The name is made durable each time: whether an earlier start that
	 * created it came as far as this is not known. */
	status = CURSOR_ERROR;
	if (fsync(dir_fd) == 0)
		status = read_slots(cursor, lost);
	if (status == CURSOR_OK || status == CURSOR_NONE)
		return status;
	saved = errno;
	cursor_close(cursor);
	errno = saved;
	return status;
}

enum cursor_status
cursor_look(int dir_fd, const char *name, struct layout_cursor *slot,
    enum cursor_slot slots[2])
{
	int fd = openat(dir_fd, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	int saved;
	enum cursor_status best = CURSOR_NONE, status = CURSOR_NONE;
	struct layout_cursor found, better = {0};
	struct stat st;

	slots[0] = slots[1] = CURSOR_SLOT_EMPTY;
	if (fd == -1 && errno == ENOENT)
		return CURSOR_NONE;
	/* A socket, or a symbolic link that leads nowhere, cannot be opened. */
	if (fd == -1 ? errno == ENXIO || errno == ELOOP
		     : fstat(fd, &st) == 0 && !S_ISREG(st.st_mode)) {
		if (fd != -1)
			(void)close(fd);
		slots[0] = slots[1] = CURSOR_SLOT_BAD;
		return CURSOR_NONE;
	}
	if (fd == -1)
		return CURSOR_ERROR;
	for (unsigned int i = 0; i < 2; i++) {
		bool has_bytes = false;

		status = read_slot(fd, i, &found, &has_bytes);
		if (status == CURSOR_ERROR || status == CURSOR_NEWER)
			break;
		if (status == CURSOR_NONE) {
			if (has_bytes)
				slots[i] = CURSOR_SLOT_BAD;
			continue;
		}
		slots[i] = CURSOR_SLOT_SOUND;
		if (best == CURSOR_NONE || found.generation > better.generation)
			better = found;
		best = CURSOR_OK;
	}
	saved = errno;
	(void)close(fd);
	errno = saved;
	if (status == CURSOR_ERROR || status == CURSOR_NEWER)
		return status;
	if (best == CURSOR_OK)
		*slot = better;
	return best;
}

int
cursor_write(struct cursor *cursor)
{
	uint8_t raw[LAYOUT_CURSOR_BYTES];
	struct layout_cursor slot = cursor->slot;

	slot.generation++;
	layout_put_cursor(raw, &slot);
	if (io_pwrite_full(cursor->fd, raw, sizeof(raw),
		cursor->place * LAYOUT_CURSOR_OFFSET) == -1)
		return -1;
	cursor->slot.generation = slot.generation;
	cursor->is_synced = false;
	return 0;
}

int
cursor_sync(struct cursor *cursor)
{
	if (cursor->is_synced)
		return 0;
	if (fdatasync(cursor->fd) == -1) {
		if (io_is_full_disk(errno))
			errno = EIO;
		return -1;
	}
	cursor->is_synced = true;
	cursor->place = 1 - cursor->place;
	return 0;
}

int
cursor_sync_both(struct cursor *cursor)
{
	if (cursor_sync(cursor) == -1 || cursor_write(cursor) == -1)
		return -1;
	return cursor_sync(cursor);
}

int
cursor_claim(struct cursor *cursor)
{
	/* What an earlier process wrote last may not be durable yet. */
	if (cursor_sync(cursor) == -1 || cursor_write(cursor) == -1)
		return -1;
	return cursor_sync_both(cursor);
}

void
cursor_close(struct cursor *cursor)
{
	if (cursor->fd != -1)
		(void)close(cursor->fd);
	cursor->fd = -1;
}
