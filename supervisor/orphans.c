#include "supervisor/orphans.h"

#include "stage/mem.h"
#include "supervisor/keys.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What a search carries along. */
struct search {
	struct orphans *found;
	const char *state_dir;
	orphans_is_used *is_used;
	const void *context;
};

/* Other names were never given to an instance or a pipeline. */
static int
is_name(const struct dirent *entry)
{
	return keys_is_name(entry->d_name, strlen(entry->d_name));
}

static int
is_of_log(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');

	return strcmp(entry->d_name, "cursor") == 0 ||
	       (dot != NULL && strcmp(dot, ".seg") == 0);
}

static int
compare_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void
free_entries(struct dirent **entries, int count)
{
	for (int i = 0; i < count; i++)
		free(entries[i]);
	if (count >= 0)
		free(entries);
}

static bool
holds_log(int dir_fd, const char *name)
{
	struct dirent **entries;
	int count = scandirat(dir_fd, name, &entries, is_of_log, NULL);

	free_entries(entries, count);
	return count > 0;
}

static void
add(const struct search *search, const char *instance, const char *pipeline)
{
	struct orphans *found = search->found;

	found->list =
	    mem_realloc(found->list, found->count + 1, sizeof(*found->list));
	found->list[found->count++] = (struct orphan){
	    .instance = mem_strdup(instance),
	    .pipeline = mem_strdup(pipeline),
	    .directory =
		mem_printf("%s/%s/%s", search->state_dir, instance, pipeline),
	};
}

/* Looks at the directory of one instance, in `dir_fd`. */
static void
search_instance(const struct search *search, int dir_fd, const char *instance)
{
	int fd = openat(dir_fd, instance, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent **entries;
	int count;

	if (fd == -1)
		return;
	count = scandirat(fd, ".", &entries, is_name, compare_bytes);
	for (int i = 0; i < count; i++) {
		const char *pipeline = entries[i]->d_name;

		if (!search->is_used(instance, pipeline, search->context) &&
		    holds_log(fd, pipeline))
			add(search, instance, pipeline);
	}
	free_entries(entries, count);
	(void)close(fd);
}

void
orphans_find(struct orphans *orphans, int dir_fd, const char *state_dir,
    orphans_is_used *is_used, const void *context)
{
	struct search search = {
	    .state_dir = state_dir, .is_used = is_used, .context = context};
	struct dirent **entries;
	int count;

	*orphans = (struct orphans){0};
	search.found = orphans;
	count = scandirat(dir_fd, ".", &entries, is_name, compare_bytes);
	for (int i = 0; i < count; i++)
		search_instance(&search, dir_fd, entries[i]->d_name);
	free_entries(entries, count);
}

void
orphans_fini(struct orphans *orphans)
{
	for (size_t i = 0; i < orphans->count; i++) {
		free(orphans->list[i].instance);
		free(orphans->list[i].pipeline);
		free(orphans->list[i].directory);
	}
	free(orphans->list);
	*orphans = (struct orphans){0};
}
