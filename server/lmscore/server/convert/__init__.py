"""Between the wire's messages and the models' types: the only modules that know both."""
