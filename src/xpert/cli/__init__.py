"""The command line. Knows options, terminals and exit codes; everything else it asks the package for."""
