/* A list of owned strings: addresses, warnings, names of peers. */
#ifndef CONTROL_CONTROL_STRINGS_H
#define CONTROL_CONTROL_STRINGS_H

#include <stddef.h>

/** All zero is an empty list. */
struct control_strings {
	char **items;
	size_t count;
	size_t capacity;
};

/** Appends a copy of `text`. @return 0 or -ENOMEM (the list is unchanged) */
int control_strings_add(struct control_strings *list, const char *text);

/** As control_strings_add() with a printf format. Texts longer than 1023 bytes are cut. */
int control_strings_addf(struct control_strings *list, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/** Frees all items; the list is empty and usable afterwards. */
void control_strings_fini(struct control_strings *list);

#endif
