# Types of the part of kazoo 2.11 that this project uses: kazoo itself has no annotations.
