#include "supervisor/adopt.h"

#include "stage/mem.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* What links call the pipeline. */
struct search {
	const char *id; /* borrowed from a path; NULL: none was seen yet */
	size_t id_bytes;
	const struct place *place; /* of the first path with it */
	bool has_others;	   /* there is a second name */
};

/* Takes note of a path if it is that of a pipeline. */
static void
look_at(struct search *search, const char *path, const struct place *place)
{
	static const char start[] = "/pipeline/";
	const char *id = path + strlen(start);
	size_t bytes;

	if (strncmp(path, start, strlen(start)) != 0)
		return;
	bytes = strcspn(id, "/");
	if (!keys_is_name(id, bytes))
		return;
	if (search->id == NULL)
		*search = (struct search){id, bytes, place, false};
	else if (bytes != search->id_bytes ||
		 memcmp(id, search->id, bytes) != 0)
		search->has_others = true;
}

void
adopt_pipeline(struct config *config, struct faults *notes)
{
	struct search search = {0};
	struct value *id;
	char *name;

	for (size_t i = 0; i < config->binding_count; i++) {
		const struct tree_node *links = config->bindings[i]->links;

		for (size_t j = 0; j < links->count; j++) {
			const struct tree_node *to = &links->items[j];

			look_at(&search, to->key, &to->key_place);
			for (size_t k = 0; k < to->count; k++)
				if (to->items[k].kind == TREE_SCALAR)
					look_at(&search, to->items[k].text,
					    &to->items[k].place);
		}
	}
	if (config->pipeline_count != 1 || !config->pipelines[0]->is_query ||
	    search.id == NULL || search.has_others)
		return;
	id = &config->pipelines[0]->id;
	name = mem_strndup(search.id, search.id_bytes);
	if (strcmp(name, id->text) == 0) {
		free(name);
		return;
	}
	faults_add(notes, search.place,
	    "there is no pipeline \"%s\"; \"%s\" (at %s:%zu:%zu) is the only "
	    "one and is bound in its place",
	    name, id->text, id->place.file, id->place.line, id->place.column);
	free(id->text);
	id->text = name;
}
