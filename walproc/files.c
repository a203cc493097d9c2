#include "walproc/files.h"

#include "stage/log.h"
#include "stage/mem.h"
#include "walproc/quarantine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void
add_name(struct files *files, uint64_t seq)
{
	if (files->count == files->room) {
		files->room = files->room == 0 ? 64 : 2 * files->room;
		files->entries = mem_realloc(
		    files->entries, files->room, sizeof(*files->entries));
	}
	files->entries[files->count++] = (struct files_entry){.name_seq = seq};
}

static int
compare_names(const void *a, const void *b)
{
	const struct files_entry *x = a, *y = b;

	return (x->name_seq > y->name_seq) - (x->name_seq < y->name_seq);
}

static void
sort(struct files *files)
{
	if (files->count > 0)
		qsort(files->entries, files->count, sizeof(*files->entries),
		    compare_names);
}

/* Returns the entry of that name, or NULL; the list is in order. */
static struct files_entry *
find(const struct files *files, uint64_t name_seq)
{
	struct files_entry key = {.name_seq = name_seq};

	return bsearch(&key, files->entries, files->count,
	    sizeof(*files->entries), compare_names);
}

static int
list_names(struct files *files)
{
	int fd = openat(files->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *entry;
	uint64_t seq;
	DIR *dir;
	int saved;

	if (fd == -1)
		return -1;
	dir = fdopendir(fd);
	if (dir == NULL) {
		saved = errno;
		(void)close(fd);
		errno = saved;
		return -1;
	}
	/* A name that is no number changes errno too. */
	while (errno = 0, (entry = readdir(dir)) != NULL)
		if (segment_is_name(entry->d_name, &seq))
			add_name(files, seq);
	saved = errno;
	(void)closedir(dir);
	errno = saved;
	return saved == 0 ? 0 : -1;
}

void
files_log(uint64_t name_seq, const char *what)
{
	char name[SEGMENT_NAME_BYTES];

	segment_name(name, name_seq);
	log_error("segment %s: %s", name, what);
}

int
files_list(struct files *files, int dir_fd)
{
	*files = (struct files){.dir_fd = dir_fd};
	if (list_names(files) == -1) {
		log_error("cannot list the log's directory: %m");
		return -1;
	}
	sort(files);
	for (size_t i = 0; i < files->count;) {
		struct files_entry *entry = &files->entries[i];
		struct segment segment;

		entry->status = segment_open(
		    &segment, dir_fd, entry->name_seq, &entry->header);
		if (entry->status == SEGMENT_OK) {
			entry->bytes = segment.bytes;
			segment_close(&segment);
		}
		if (entry->status != SEGMENT_ERROR) {
			i++;
			continue;
		}
		if (errno != ENOENT) {
			files_log(entry->name_seq, strerror(errno));
			return -1;
		}
		/* Unlinked meanwhile by the walproc that has the log. */
		files->count--;
		memmove(entry, entry + 1,
		    (files->count - i) * sizeof(*files->entries));
	}
	return 0;
}

void
files_fini(struct files *files)
{
	free(files->entries);
	*files = (struct files){.dir_fd = -1};
}

bool
files_have_newer(const struct files *files)
{
	for (size_t i = 0; i < files->count; i++) {
		if (files->entries[i].status != SEGMENT_NEWER)
			continue;
		files_log(files->entries[i].name_seq,
		    "of a format version that this walproc does not know");
		return true;
	}
	return false;
}

static bool
is_of_log(
    const struct files_entry *entry, const uint8_t log_id[LAYOUT_LOG_ID_BYTES])
{
	return memcmp(entry->header.log_id, log_id, LAYOUT_LOG_ID_BYTES) == 0;
}

void
files_find_log(const struct files *files, const struct layout_cursor *cursor,
    struct recovered *found)
{
	const struct files_entry *most = NULL;
	size_t lead = 0;

	found->has_log_id = false;
	found->is_foreign = cursor != NULL;
	for (size_t i = 0; i < files->count; i++) {
		const struct files_entry *entry = &files->entries[i];

		if (entry->status != SEGMENT_OK)
			continue;
		if (cursor != NULL && is_of_log(entry, cursor->log_id))
			found->is_foreign = false;
		/* The majority vote of Boyer and Moore. */
		if (lead == 0)
			most = entry;
		lead += is_of_log(entry, most->header.log_id) ? 1 : -1;
	}
	if (most == NULL) {
		found->is_foreign = false;
		return;
	}
	found->has_log_id = true;
	memcpy(found->log_id,
	    found->is_foreign || cursor == NULL ? most->header.log_id
						: cursor->log_id,
	    LAYOUT_LOG_ID_BYTES);
}

/* Has drop_gone take an entry off the list. */
static void
mark_gone(struct files_entry *entry)
{
	entry->name_seq = 0;
}

/* Moves a file to the quarantine. 0, or -1 with errno set. */
static int
move_away(struct files *files, struct files_entry *entry, const char *why)
{
	files_log(entry->name_seq, why);
	if (quarantine_segment(files->dir_fd, entry->name_seq) == -1)
		return -1;
	entry->status = SEGMENT_BAD;
	mark_gone(entry);
	return 0;
}

static int
rename_segment(
    const struct files *files, uint64_t from, uint64_t to, unsigned int flags)
{
	char from_name[SEGMENT_NAME_BYTES], to_name[SEGMENT_NAME_BYTES];

	segment_name(from_name, from);
	segment_name(to_name, to);
	if (renameat2(
		files->dir_fd, from_name, files->dir_fd, to_name, flags) == -1)
		return -1;
	log_warn("segment %s is %s: renamed%s", from_name, to_name,
	    flags == 0 ? "" : ", each to the other's name");
	return fsync(files->dir_fd);
}

/*
 * Gives one file the name that its header says, durably: the scan builds on
 * it. Returns 0, or -1 with errno set.
 */
static int
put_name_right(struct files *files, struct files_entry *entry)
{
	while (entry->status == SEGMENT_OK &&
	       entry->header.first_seq != entry->name_seq) {
		uint64_t own = entry->header.first_seq;
		struct files_entry *there = find(files, own), kept = *entry;

		if (there != NULL && there->status == SEGMENT_OK &&
		    there->header.first_seq == own)
			return move_away(files, entry, "is there twice");
		if (rename_segment(files, entry->name_seq, own,
			there == NULL ? 0 : RENAME_EXCHANGE) == -1)
			return -1;
		if (there == NULL) {
			entry->name_seq = own;
			sort(files);
			return 0;
		}
		/* Each step puts one right, so this comes to an end. */
		*entry = *there;
		entry->name_seq = kept.name_seq;
		*there = kept;
		there->name_seq = own;
	}
	return 0;
}

/* Takes what was marked off the list. */
static void
drop_gone(struct files *files)
{
	size_t left = 0;

	for (size_t i = 0; i < files->count; i++)
		if (files->entries[i].name_seq != 0)
			files->entries[left++] = files->entries[i];
	files->count = left;
}

/* Says what is wrong with a file, or NULL. */
static const char *
find_fault(const struct files *files, const struct files_entry *entry,
    const uint8_t log_id[LAYOUT_LOG_ID_BYTES])
{
	const struct files_entry *there;

	if (entry->status != SEGMENT_OK)
		return NULL;
	if (!is_of_log(entry, log_id))
		return "of another log";
	if (entry->header.first_seq == entry->name_seq)
		return NULL;
	there = find(files, entry->header.first_seq);
	if (there != NULL && there->status == SEGMENT_OK &&
	    there->header.first_seq == there->name_seq)
		return "is there twice";
	return "bears the name of another";
}

/* The same as files_put_right, with a listener. */
static void
tell(struct files *files, const uint8_t log_id[LAYOUT_LOG_ID_BYTES],
    const struct recover_listener *listener)
{
	bool *is_faulty = mem_calloc(files->count + 1, sizeof(*is_faulty));

	for (size_t i = 0; i < files->count; i++) {
		const struct files_entry *entry = &files->entries[i];
		const char *fault = find_fault(files, entry, log_id);

		is_faulty[i] = fault != NULL;
		if (fault != NULL)
			listener->tell(
			    listener->context, entry->name_seq, fault);
	}
	for (size_t i = 0; i < files->count; i++)
		if (is_faulty[i])
			mark_gone(&files->entries[i]);
	drop_gone(files);
	free(is_faulty);
}

int
files_put_right(struct files *files, const uint8_t log_id[LAYOUT_LOG_ID_BYTES],
    const struct recover_listener *listener)
{
	if (listener != NULL) {
		tell(files, log_id, listener);
		return 0;
	}
	for (size_t i = 0; i < files->count; i++) {
		struct files_entry *entry = &files->entries[i];

		if (entry->status == SEGMENT_OK && !is_of_log(entry, log_id) &&
		    move_away(files, entry, "of another log") == -1)
			goto fail;
	}
	drop_gone(files);
	for (size_t i = 0; i < files->count; i++) {
		uint64_t name_seq = files->entries[i].name_seq;

		if (put_name_right(files, &files->entries[i]) == -1)
			goto fail;
		/* It went to where it belongs: what is here now is another. */
		if (files->entries[i].name_seq != name_seq)
			i--;
		drop_gone(files);
	}
	return 0;

fail:
	log_error("cannot put the segments in order: %m");
	return -1;
}
