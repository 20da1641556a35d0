/* How `top` looks: a screen of so many columns and lines, or plain lines for who is no terminal. */
#ifndef CLI_TOP_SCREEN_H
#define CLI_TOP_SCREEN_H

#include "cli/cli.h"

struct top_model;

struct top_size {
	int columns, lines; /* at least 20 and 5 are drawn, whatever stands here */
	bool utf8;	    /* the terminal shows block characters */
};

/** Draws one screen from its upper left corner on, and clears what is left of the old one. */
void top_screen_draw(const struct cli *cli, const struct top_model *model, struct top_size size);

/** Writes one look as a table without anything that steers a terminal. */
void top_screen_plain(const struct cli *cli, const struct top_model *model);

#endif
