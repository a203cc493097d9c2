#include "t/log_dir.h"

#include "stage/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct log_image nothing;

/* Ends the test where its own preparations fail. */
static void
must(bool is_done, const char *what)
{
	if (is_done)
		return;
	perror(what);
	abort();
}

void
log_dir_make(struct log_dir *dir)
{
	const char *in =
	    access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : "/tmp";

	(void)snprintf(dir->path, sizeof(dir->path), "%s/walpipe.XXXXXX", in);
	must(mkdtemp(dir->path) != NULL, dir->path);
	dir->fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(dir->fd != -1, dir->path);
}

/* Opens the directory `name` in `dir_fd` for listing; NULL if it is none. */
static DIR *
open_list(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list;

	if (fd == -1)
		return NULL;
	list = fdopendir(fd);
	must(list != NULL, "opendir");
	return list;
}

static bool
is_in_image(const struct log_image *image, const char *name)
{
	for (size_t i = 0; i < image->count; i++)
		if (strcmp(image->files[i].name, name) == 0)
			return true;
	return false;
}

/* Removes all that is in the directory `name`, but what is in `keep`. */
static void
remove_files(int dir_fd, const char *name, const struct log_image *keep)
{
	DIR *list = open_list(dir_fd, name);
	struct dirent *entry;

	must(list != NULL, "opendir");
	while ((entry = readdir(list)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 ||
		    strcmp(entry->d_name, "..") == 0 ||
		    is_in_image(keep, entry->d_name))
			continue;
		if (unlinkat(dirfd(list), entry->d_name, 0) == 0)
			continue;
		must(errno == EISDIR, entry->d_name);
		remove_files(dirfd(list), entry->d_name, &nothing);
		must(unlinkat(dirfd(list), entry->d_name, AT_REMOVEDIR) == 0,
		    entry->d_name);
	}
	(void)closedir(list);
}

void
log_dir_clear(const struct log_dir *dir)
{
	remove_files(dir->fd, ".", &nothing);
}

void
log_dir_remove(struct log_dir *dir)
{
	log_dir_clear(dir);
	(void)close(dir->fd);
	dir->fd = -1;
	must(rmdir(dir->path) == 0, dir->path);
}

size_t
log_dir_count(const struct log_dir *dir, const char *name)
{
	DIR *list = open_list(dir->fd, name);
	struct dirent *entry;
	size_t count = 0;

	if (list == NULL)
		return 0;
	while ((entry = readdir(list)) != NULL)
		count += entry->d_name[0] != '.';
	(void)closedir(list);
	return count;
}

void
log_dir_write(const struct log_dir *dir, const char *name, const uint8_t *data,
    size_t bytes)
{
	int fd = openat(
	    dir->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	must(fd != -1, name);
	must(io_write_full(fd, data, bytes) == 0, name);
	(void)close(fd);
}

/* Reads one file; false if it is none. */
static bool
take_file(struct log_file *file, int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	struct stat st;

	must(fd != -1 && fstat(fd, &st) == 0, name);
	if (!S_ISREG(st.st_mode)) {
		(void)close(fd);
		return false;
	}
	(void)snprintf(file->name, sizeof(file->name), "%s", name);
	file->bytes = (size_t)st.st_size;
	file->data = malloc(file->bytes + 1);
	must(file->data != NULL, name);
	must(io_pread_full(fd, file->data, file->bytes, 0) == st.st_size, name);
	(void)close(fd);
	return true;
}

static int
compare_names(const void *a, const void *b)
{
	const struct log_file *x = a, *y = b;

	return strcmp(x->name, y->name);
}

void
log_image_take(struct log_image *image, const struct log_dir *dir)
{
	DIR *list = open_list(dir->fd, ".");
	struct dirent *entry;

	must(list != NULL, "opendir");
	image->count = 0;
	while ((entry = readdir(list)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		must(image->count < LOG_FILES, "files");
		image->count += take_file(
		    &image->files[image->count], dir->fd, entry->d_name);
	}
	(void)closedir(list);
	qsort(
	    image->files, image->count, sizeof(image->files[0]), compare_names);
}

void
log_image_free(struct log_image *image)
{
	for (size_t i = 0; i < image->count; i++)
		free(image->files[i].data);
	image->count = 0;
}

void
log_image_put(const struct log_image *image, const struct log_dir *dir)
{
	remove_files(dir->fd, ".", image);
	for (size_t i = 0; i < image->count; i++)
		log_dir_write(dir, image->files[i].name, image->files[i].data,
		    image->files[i].bytes);
}

size_t
log_event(uint64_t n, size_t spread, char out[LOG_EVENT_ROOM])
{
	size_t bytes = (size_t)snprintf(
	    out, LOG_EVENT_ROOM, "{\"n\":%06llu", (unsigned long long)n);
	size_t pad = (size_t)(n * 37 % spread);

	memset(out + bytes, ' ', pad);
	out[bytes + pad] = '}';
	return bytes + pad + 1;
}
