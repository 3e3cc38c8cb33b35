"""Looking after runs: what there is, forks, exports, archives."""
