CREATE DATABASE prefect OWNER meterfeed;
